"""Pages that stand alone: one HTML file with its own styles and script, which asks nothing of any network."""

from ablate.web.markup import Html, element, embed, escape, join
from ablate.web.shell import THEME_SWITCH, asset, page

__all__ = ["THEME_SWITCH", "Html", "asset", "element", "embed", "escape", "join", "page"]
