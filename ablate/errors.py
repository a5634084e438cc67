"""Every error that a user can cause: what is wrong, where, what is allowed, and the way out.

`Problem` is one fault; `StudyError` carries all faults of a study at once. The command line prints
an `AblateError` without a traceback and exits with its `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of the user's input.

    where: ``"studies/msa.yaml:12"`` or ``"command line"``; empty when no place applies.
    field: the dotted key, ``"model.attention.args.reduction"``; empty when none applies.
    message: what is wrong, with the value that was given.
    allowed: what would be right, in words or as names.
    hint: the way out ("did you mean 'reduction'?").
    """

    message: str
    where: str = ""
    field: str = ""
    allowed: tuple[str, ...] = ()
    hint: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.field, self.message) if part)
        allowed = f"\n    allowed: {', '.join(self.allowed)}" if self.allowed else ""
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{head}{allowed}{hint}"


class AblateError(Exception):
    """Base of all errors that are the user's to mend; printed without a traceback."""

    exit_code = 2


class StudyError(AblateError):
    """The study file, or what was said about it on the command line, is wrong; holds every fault found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found; nothing was run\n{lines}")


class DataError(AblateError):
    """The data are absent, unreadable or do not fit the study."""


class MachineError(AblateError):
    """The machine lacks what was asked for: a device, a library, a matching pair of libraries."""


class StoreError(AblateError):
    """The results tree cannot be read or written as asked."""


@dataclass(slots=True)
class Problems:
    """Collects faults, so that a user sees all of them in one go."""

    found: list[Problem] = field(default_factory=list)

    def add(
        self, message: str, *, where: str = "", field: str = "", allowed: Sequence[str] = (), hint: str = ""
    ) -> None:
        problem = Problem(message, where, field, tuple(allowed), hint)
        if problem not in self.found:
            self.found.append(problem)

    def raise_if_any(self) -> None:
        if self.found:
            raise StudyError(self.found)


def did_you_mean(value: Any, allowed: Iterable[str]) -> str:
    """``"did you mean 'reduction'?"`` for the nearest allowed name, or an empty string."""
    nearest = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}?" if nearest else ""
