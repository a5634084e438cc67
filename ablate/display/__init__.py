"""What a person sees of a run: the nouns and the null display, the board, the lines, the displays."""

from ablate.display.base import Display, NullDisplay, Opening, WatchedTrial
from ablate.display.board import Board, WorkerRow, read_board, remaining_s, render_board
from ablate.display.lines import duration
from ablate.display.shown import LiveDisplay, PlainDisplay, QuietDisplay, make_display
from ablate.display.steps import Steps
from ablate.display.streams import SteadyStream, silence

__all__ = [
    "Board",
    "Display",
    "LiveDisplay",
    "NullDisplay",
    "Opening",
    "PlainDisplay",
    "QuietDisplay",
    "SteadyStream",
    "Steps",
    "WatchedTrial",
    "WorkerRow",
    "duration",
    "make_display",
    "read_board",
    "remaining_s",
    "render_board",
    "silence",
]
