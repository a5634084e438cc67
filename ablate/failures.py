"""Failures in words: what happened to which trials, where to look, and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.record import Failure, TrialRecord

MEMBERS_SHOWN = 3
_ALONE = "--retry-failed --executor inline with --only and --seeds"
_AT_A_TERMINAL = (
    "a worker has no terminal, and {} waits for one (input(), breakpoint()): take it out, or run this trial "
    f"in your own: {_ALONE}"
)
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
    if _waits_for_a_person(failure):
        return _AT_A_TERMINAL.format(_line(failure) or "something")
    if failure.kind == "timeout":
        rest = "raise --timeout, or shorten the training (train.epochs, train.steps)"
        return f"if it hangs at {_line(failure)}, mend that; else {rest}" if failure.where else rest
    if failure.kind == "crashed":
        return _after_a_crash(failure)
    if failure.kind == "interrupted":
        return "run the same command again"
    if failure.kind == "non-finite":
        mend = said or "lower train.optimizer.lr, or set train.clip_norm"
        return f"{mend}; or the network divides, or takes a root or a logarithm, where it must not"
    return _after_an_exception(failure, said)


def _more_memory(record: TrialRecord, failure: Failure) -> str:
    train = record.identity.get("settings", {}).get("train", {})
    ways = []
    if failure.error == "" or failure.error == "MemoryError" or "CPU" in failure.message:
        ways.append("run fewer trials at once (a smaller -j)")
    ways += [*_parts(train), *_recomputing(train)]
    return "; or ".join(ways) or "run fewer trials at once (a smaller -j), or lower train.batch_size"


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
            "if it was memory, run fewer trials at once (a smaller -j); --retry-failed tries again"
        )
    if "ended by itself" in failure.message:
        what = f"{_line(failure)} ends" if failure.where else "something (os._exit, a library's exit()) ended"
        return f"{what} the whole process: raise an exception instead, and the failure will have a name"
    what = f"in the call at {_line(failure)}: look at what that line gives it" if failure.where else ""
    return (
        f"a library below Python broke down{f' {what}' if what else ''}; its last words are in the log; "
        f"{_ALONE} runs this trial alone, under a debugger if need be"
    )


def _waits_for_a_person(failure: Failure) -> bool:
    """input() and breakpoint() find no terminal in a worker; a debugger may also wait for ever."""
    ended = failure.error == "bdb.BdbQuit" or (
        failure.error == "EOFError" and "when reading a line" in failure.message
    )
    return ended or (failure.kind == "timeout" and "/pdb.py" in failure.traceback)


def _line(failure: Failure) -> str:
    """ "net.py:12", without the function."""
    return failure.where.partition(" in ")[0]


def _after_an_exception(failure: Failure, said: str) -> str:
    if said and failure.error.startswith("ablate."):
        return said
    if _SHAPES.search(failure.message):
        place = f"at {failure.where}" if failure.where else "in the network"
        return (
            f"the tensors {place} do not fit together: print their shapes there; an attention module gives "
            "back [B,C,H,W] as it got it, a backbone [B,classes]"
        )
    if failure.error == "OSError" and "[Errno 28]" in failure.message:
        return "the disk that it writes to is full: free some space there; --retry-failed tries again"
    if failure.where:
        return f"mend {_line(failure)}, where it was raised; the log has the traceback"
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
    """The groups as text, a line each and a line for the way out; where they failed and their logs were shown
    with each of them."""
    return [
        line
        for group in groups
        for line in (f"failed: {group.names}: {group.headline}", f"    way out: {group.way_out}")
    ]
