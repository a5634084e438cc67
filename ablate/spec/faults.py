"""A fault of the study file at a place within it, and the collection that adds file and line."""

from __future__ import annotations

from dataclasses import dataclass, field

from ablate.errors import Problems
from ablate.spec.source import Document, Place, dotted


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place. `of_key`: the key is wrong, whatever its value."""

    place: Place
    message: str
    allowed: tuple[str, ...] = ()
    hint: str = ""
    of_key: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """Faults of one document as problems with file and line."""

    document: Document
    problems: Problems = field(default_factory=Problems)

    def add(self, fault: Fault, place: Place | None = None, *, name: str | None = None) -> None:
        """place: where in the file, if not at the fault's own place; name: the field, if not that place."""
        at = fault.place if place is None else place
        self.problems.add(
            fault.message,
            where=self.document.where(*at),
            field=dotted(at) if name is None else name,
            allowed=fault.allowed,
            hint=fault.hint,
        )
