"""How far the training is: one line that renews itself in a terminal, else a line an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ablate.display import SteadyStream

_RENEW = "\r\x1b[K"  # back to the start of the line, and erase it


class Meter:
    """Writes to `stream`, for as long as somebody takes it. As a context, leaves the line free at the end."""

    def __init__(self, stream: Any) -> None:
        self._stream = SteadyStream(stream)
        self._renews = bool(stream is not None and stream.isatty())
        self._epoch = 0

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def show(self, figures: Mapping[str, Any]) -> None:
        """figures: as `run_trial` tells them."""
        if not self._renews and figures["epoch"] == self._epoch:
            return
        self._epoch = figures["epoch"]
        line = progress_line(figures)
        self._stream.write(f"{_RENEW}{line}" if self._renews else f"{line}\n")
        self._stream.flush()

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renews and self._epoch:
            self._stream.write(_RENEW)
            self._stream.flush()


def progress_line(figures: Mapping[str, Any]) -> str:
    """ "epoch 2 of 8, step 31 of 106, loss 0.4127"."""
    epoch = f"epoch {figures['epoch']} of {figures['epochs']}"
    loss = f", loss {figures['loss']:.4f}" if figures.get("loss") is not None else ""
    return f"{epoch}, step {figures['step']} of {figures['steps']}{loss}"
