"""Two variants, two studies or two results trees side by side, judged as a report judges them. No torch."""

from ablate.compare.pairs import Compared, Pair, compare_sides
from ablate.compare.render import render_json, render_text
from ablate.compare.sides import Side, find_sides

__all__ = ["Compared", "Pair", "Side", "compare_sides", "find_sides", "render_json", "render_text"]
