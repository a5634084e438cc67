"""What a run does before anything is shown: said as it begins, and once more where it takes long.

The user's own code runs in most of these steps: a module that hangs must not hang in silence, and Ctrl-C has
to say what it cut short.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ablate.execute import where_in_stack

PATIENCE_S = 15.0


def _nothing(*_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Teller:
    """Whom to tell. note: a sentence that stays. step: what goes on now, with a detail that changes often;
    the next one takes its place."""

    note: Callable[[str], None] = _nothing
    step: Callable[[str, str], None] = _nothing


NOBODY = Teller()


@contextmanager
def patience(what: str, tell: Teller, detail: str = "", *, after_s: float | None = None) -> Iterator[None]:
    """Say that `what` begins, and once that it takes long and where it stands; the work itself goes on in
    this thread. KeyboardInterrupt says what it cut short."""
    tell.step(what, detail)
    after_s = PATIENCE_S if after_s is None else after_s
    whole = f"{what} ({detail})" if detail else what
    thread = threading.get_ident()
    here = sys._getframe(2)  # of the caller, beyond contextlib's

    def say() -> None:
        stand = _stand(sys._current_frames().get(thread), here)
        tell.note(f"still at it after {after_s:.0f} s: {whole}{stand}")

    timer = threading.Timer(after_s, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted while {whole}; nothing was trained or written") from None
    finally:
        timer.cancel()


def _stand(frame: FrameType | None, below: FrameType) -> str:
    """The user's own line, where one is at work; an import is named as such."""
    place, _, function = where_in_stack(frame, below).partition(" in ")
    if not place:
        return ""
    return f"; importing {place}" if function == "<module>" else f"; it stands at {place} in {function}"
