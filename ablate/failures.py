"""Failures in words: what happened to which trials, where to look, and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.record import Failure, TrialRecord

MEMBERS_SHOWN = 3
# What torch says when tensors do not fit together, in the words of its common operators.
_SHAPES = re.compile(
    r"cannot be multiplied|[Ss]izes? of tensors?|must match the size|Given groups=|[Ee]xpected \d+D"
    r"|Expected input|is invalid for input of size|normalized_shape|running_mean should contain"
    r"|must match except|inconsistent tensor size|not broadcastable|expanded size of the tensor"
)


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed trial. name: as a person names it. log: its log.txt."""

    name: str
    record: TrialRecord
    log: Path


@dataclass(frozen=True, slots=True)
class Group:
    """Trials that failed alike."""

    headline: str
    where: str
    way_out: str
    members: tuple[Failed, ...]

    @property
    def names(self) -> str:
        shown = ", ".join(member.name for member in self.members[:MEMBERS_SHOWN])
        more = len(self.members) - MEMBERS_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown


def headline(failure: Failure) -> str:
    """``"exception: RuntimeError: a message"``: kind, class, first line; and how often it was tried."""
    first, *_ = failure.message.strip().splitlines() or [""]
    name = failure.error.rpartition(".")[2]
    if failure.error.startswith("ablate."):
        name = ""  # its kind and its sentence say all
    parts = [failure.kind, *([name] if name else []), *([first] if first not in ("", failure.error) else [])]
    tried = f" ({failure.attempts} attempts)" if failure.attempts > 1 else ""
    return ": ".join(parts) + tried


def way_out(record: TrialRecord) -> str:
    """What to do about it, in one line; empty where the trial has not failed."""
    failure = record.failure
    if failure is None:
        return ""
    said = "; ".join(line.strip() for line in failure.message.strip().splitlines()[1:] if line.strip())
    if failure.kind == "out-of-memory":
        return _more_memory(record, failure)
    if failure.kind == "timeout":
        return "raise --timeout, or shorten the training (train.epochs, train.steps)"
    if failure.kind == "crashed":
        return _after_a_crash(failure)
    if failure.kind == "interrupted":
        return "run the same command again"
    if failure.kind == "non-finite":
        return said or "lower train.optimizer.lr, or set train.clip_norm"
    return _after_an_exception(failure, said)


def _more_memory(record: TrialRecord, failure: Failure) -> str:
    train = record.identity.get("settings", {}).get("train", {})
    ways = []
    if failure.error == "" or failure.error == "MemoryError" or "CPU" in failure.message:
        ways.append("run fewer trials at once with -j")
    ways += [*_parts(train), *_recomputing(train)]
    return "; or ".join(ways) or "run fewer trials at once with -j, or lower train.batch_size"


def _parts(train: Mapping[str, Any]) -> list[str]:
    """Twice the parts halve what the activations take, and the step still sees the whole batch."""
    batch_size, parts = train.get("batch_size"), 2 * train.get("accumulate", 1)
    if not isinstance(batch_size, int) or parts > batch_size:
        return []
    size = -(-batch_size // parts)
    return [
        f"train.accumulate={parts} (a step's {batch_size} images pass in {parts} parts of {size}: about half "
        "the memory, the same effective batch; batch norm sees one part at a time)"
    ]


def _recomputing(train: Mapping[str, Any]) -> list[str]:
    if train.get("gradient_checkpointing") or train.get("compile"):
        return []
    return ["train.gradient_checkpointing=true (less memory for a slower step, the same result)"]


def _after_a_crash(failure: Failure) -> str:
    if "SIGKILL" in failure.message or "SIGTERM" in failure.message:
        return (
            "somebody or something ended the worker: a person, a scheduler, a memory guard; "
            "if it was memory, run fewer trials at once with -j; --retry-failed tries again"
        )
    return (
        "a library below Python broke down; its last words are in the log; "
        "--executor inline with --only and --seeds runs this trial alone, under a debugger if need be"
    )


def _after_an_exception(failure: Failure, said: str) -> str:
    if said and failure.error.startswith("ablate."):
        return said
    if _SHAPES.search(failure.message):
        place = f"at {failure.where}" if failure.where else "in the network"
        return (
            f"the tensors {place} do not fit together: print their shapes there; an attention module gives "
            "back [B,C,H,W] as it got it, a backbone [B,classes]"
        )
    if failure.where:
        return f"mend {failure.where.partition(' in ')[0]}, where it was raised; the log has the traceback"
    if failure.error.startswith("ablate."):
        return "mend what it names"
    return "the traceback in the log shows where it was raised"


def grouped(failed: Iterable[Failed]) -> tuple[Group, ...]:
    """Those that failed alike together, in the order in which each kind was first met."""
    groups: dict[tuple[str, str, str], list[Failed]] = {}
    for each in failed:
        failure = each.record.failure
        if failure is not None:
            key = (headline(failure), failure.where, way_out(each.record))
            groups.setdefault(key, []).append(each)
    return tuple(Group(*key, tuple(members)) for key, members in groups.items())


def group_lines(groups: Iterable[Group]) -> list[str]:
    """The groups as text: who and what, then where, the way out and the log, one line each."""
    lines: list[str] = []
    for group in groups:
        lines.append(f"failed: {group.names}: {group.headline}")
        if group.where:
            lines.append(f"    at {group.where}")
        lines.append(f"    way out: {group.way_out}")
        more = len(group.members) - 1
        lines.append(f"    log: {group.members[0].log}" + (f" (and {more} like it)" if more else ""))
    return lines
