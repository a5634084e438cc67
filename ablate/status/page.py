"""The status of a study as a page of text, as JSON, and as a page that renews itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ablate.display import duration
from ablate.record import Failure
from ablate.status.read import State, StudyStatus, TrialStatus, read_study
from ablate.store import Progress, Store, Watch

STATES: tuple[State, ...] = ("done", "running", "failed", "pending", "damaged")
INTERVAL_S = 2.0


def render_status(store: Store, name: str) -> str:
    """A page of text: the counts, a line a running trial, two a failed one, a row a variant, and what is
    damaged."""
    return render_page(read_study(store, name))


def render_page(status: StudyStatus) -> str:
    lines = [_counts(status)]
    lines += [f"  running  {_named(trial)}: {_live(trial)}" for trial in status.of("running")]
    failed = status.of("failed")
    for way_out in dict.fromkeys(trial.way_out for trial in failed):
        alike = [trial for trial in failed if trial.way_out == way_out]
        lines += [f"  failed   {_named(trial)}: {trial.message} ({trial.trial_id})" for trial in alike]
        lines.append(f"           way out: {way_out}")
    if failed:
        lines.append(f"  `ablate logs {failed[0].trial_id}` shows the log and the traceback")
    lines += _damage(status)
    lines.append("")
    width = max((len(trial.variant) for trial in status.trials), default=0)
    by_variant = Counter((trial.variant, trial.state) for trial in status.trials)
    for variant in dict.fromkeys(trial.variant for trial in status.trials):
        said = [f"{by_variant[variant, state]} {state}" for state in STATES if by_variant[variant, state]]
        lines.append(f"  {variant.ljust(width)}  {', '.join(said)}")
    return "\n".join(lines)


def _damage(status: StudyStatus) -> list[str]:
    """Every file that is damaged, then, once, the ways out."""
    damaged = [(trial, trial.damage) for trial in status.of("damaged") if trial.damage is not None]
    lines = [f"  damaged  {_named(trial)}: {damage.where} {damage.fault}" for trial, damage in damaged]
    return [*lines, *(f"           {way}" for way in dict.fromkeys(damage.way_out for _, damage in damaged))]


def _counts(status: StudyStatus) -> str:
    counts = {state: len(status.of(state)) for state in STATES}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state != "damaged")
    rest = "" if status.eta_s is None else f"; about {duration(status.eta_s)} left"
    return f"{status.study}: {said} of {len(status.trials)} trials{rest}"


def _named(trial: TrialStatus) -> str:
    return f"{trial.variant} seed {trial.seed}"


def _live(trial: TrialStatus) -> str:
    progress, where = trial.progress, _where(trial)
    if progress is None:
        return f"starting{where}"
    parts = [f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.accuracy is not None:
        parts.append(f"{progress.accuracy:.1f} %")
    if progress.images_per_s is not None:
        parts.append(f"{progress.images_per_s:,.0f} images/s")
    return ", ".join(parts) + where


def _where(trial: TrialStatus) -> str:
    if trial.holder is not None:
        return f" ({trial.holder})"
    return f" ({trial.progress.host})" if trial.progress is not None else ""


def status_json(store: Store, name: str) -> dict[str, Any]:
    """The status as plain values; eta_s in seconds, accuracies in percent."""
    status = read_study(store, name)
    return {
        "study": status.study,
        "total": len(status.trials),
        **{state: len(status.of(state)) for state in STATES},
        "eta_s": status.eta_s,
        "trials": [_trial_json(trial) for trial in status.trials],
    }


def _trial_json(trial: TrialStatus) -> dict[str, Any]:
    failure = trial.failure
    host = trial.holder.host if trial.holder else trial.progress.host if trial.progress else None
    return {
        "variant": trial.variant,
        "seed": trial.seed,
        "id": trial.trial_id,
        "state": trial.state,
        "accuracy": trial.accuracy,
        "host": host,
        "pid": trial.holder.pid if trial.holder else trial.progress.pid if trial.progress else None,
        "progress": _progress_json(trial.progress),
        "failure": None if failure is None else _failure_json(failure, trial.way_out),
        "damage": None if trial.damage is None else str(trial.damage),
    }


def _failure_json(failure: Failure, way_out: str) -> dict[str, str]:
    return {
        "kind": failure.kind,
        "error": failure.error,
        "message": failure.message,
        "where": failure.where,
        "way_out": way_out,
    }


def _progress_json(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    kept = ("epoch", "epochs", "step", "steps", "loss", "accuracy", "images_per_s")
    # A loss that is infinite has no place in JSON.
    return {
        key: value if value is None or abs(value) < float("inf") else None
        for key, value in asdict(progress).items()
        if key in kept
    }


def watch_status(
    store: Store,
    name: str,
    *,
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show the page anew every `INTERVAL_S` until no trial runs or waits; Ctrl-C ends it at any time.

    Where the output is no terminal: the line of counts, and one a running trial, each time they have changed.
    """
    watch, console = Watch(), console or Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                status = read_study(store, name, watch=watch)
                live.update(Text(render_page(status)), refresh=True)
                if status.over:
                    return
                sleep(INTERVAL_S)
    before = ""
    while True:
        status = read_study(store, name, watch=watch)
        said = render_page(status).partition("\n\n")[0]
        if said != before:
            console.print(Text(said), soft_wrap=True)
        before = said
        if status.over:
            return
        sleep(INTERVAL_S)
