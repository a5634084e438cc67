"""The record of a trial without a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.record import Environment, Failure, TrialRecord
from ablate.train.fit import NonFiniteLoss

LOG_TAIL_LINES = 20


def failed_record(
    *,
    trial_id: str,
    variant_id: str,
    seed: int,
    identity: Mapping[str, Any],
    environment: Environment,
    started: str,
    wall_s: float,
    kind: str,
    message: str,
    traceback: str = "",
    error: str = "",
    where: str = "",
    attempts: int = 1,
    log: Path | None = None,
) -> TrialRecord:
    """The record of a trial without a result.

    kind, message, traceback, error, where, attempts: as `ablate.execute.ExecutionFailure` holds them.
    started: ISO 8601, UTC. log: log.txt, whose last lines are kept.
    """
    if error == f"{NonFiniteLoss.__module__}.{NonFiniteLoss.__qualname__}":
        kind = "non-finite"
    elif kind == "cancelled":
        kind = "interrupted"
    tail: tuple[str, ...] = ()
    if log is not None and log.is_file():
        tail = tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])
    return TrialRecord(
        id=trial_id,
        variant_id=variant_id,
        seed=seed,
        status="failed",
        identity=dict(identity),
        failure=Failure(
            kind=kind,
            message=message,
            error=error,
            where=where,
            traceback=traceback,
            log_tail=tail,
            attempts=attempts,
        ),
        environment=environment,
        started=started,
        wall_s=wall_s,
    )
