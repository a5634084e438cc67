"""What is missing from a report and why: the variants that are not complete, and every failed trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.failures import headline
from ablate.report import numbers
from ablate.report.rows import Report, TrialRow

INCOMPLETE_HEADER = ("Variant", "n", "Seeds to run", "Seeds that failed")
FAILURES_HEADER = ("Variant", "Seed", "What happened", "Last line of the user's code", "Log")


def incomplete_table(report: Report) -> tuple[Sequence[str], list[Sequence[str]]]:
    return INCOMPLETE_HEADER, [
        (
            row.name,
            f"{row.n}/{row.planned}",
            _seeds(row.trials, "pending"),
            _seeds(row.trials, "failed"),
        )
        for row in report.incomplete
    ]


def failures_table(report: Report) -> tuple[Sequence[str], list[Sequence[str]]]:
    """One row a failed trial, in the order of the report."""
    return FAILURES_HEADER, [
        (
            trial.variant,
            str(trial.seed),
            headline(trial.failure),
            trial.failure.where or numbers.NONE,
            log_path(trial),
        )
        for row in report.incomplete
        for trial in row.trials
        if trial.failure is not None
    ]


def document(trial: TrialRow) -> dict[str, Any]:
    """A failed trial for JSON; empty for one that has not failed."""
    failure = trial.failure
    if failure is None:
        return {}
    return {
        "seed": trial.seed,
        "trial": trial.id,
        "kind": failure.kind,
        "error": failure.error,
        "message": failure.message,
        "where": failure.where,
        "attempts": failure.attempts,
        "log": log_path(trial),
    }


def log_path(trial: TrialRow) -> str:
    """Within the results tree, which may lie elsewhere by the time somebody reads of it."""
    return f"trials/{trial.id}/log.txt"


def _seeds(trials: Sequence[TrialRow], status: str) -> str:
    return ", ".join(str(trial.seed) for trial in trials if trial.status == status) or numbers.NONE
