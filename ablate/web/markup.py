"""Text becomes markup in one place: whatever is not `Html` is escaped, so no name can be a tag."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

# Neither can stand in an HTML file: control characters, and halves of surrogate pairs, which are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_TO_ESCAPE = re.compile(f"[&<>\"'{_UNPRINTABLE.pattern[1:]}")  # most text holds none of it
_VOID = frozenset({"br", "hr", "img", "input"})
_DRAWN = frozenset({"circle", "line", "path", "polyline", "rect", "use"})  # SVG: may close themselves
_ADDRESSES = frozenset({"href", "src"})
_ADDRESS = re.compile(r"#[\w-]+|(?!//)[\w./-]+|data:image/(png|svg\+xml|webp|jpeg);base64,[A-Za-z0-9+/=]*")


class Html(str):
    """Markup, to be written as it stands."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Text as markup that shows it, in an element or in a quoted attribute; `Html` stays as it is."""
    if isinstance(text, Html):
        return text
    said = str(text)
    if _TO_ESCAPE.search(said) is None:
        return Html(said)
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", said), quote=True))


def join(parts: Iterable[object], between: str = "") -> Html:
    return Html(escape(between).join([part if type(part) is Html else escape(part) for part in parts]))


def element(name: str, /, *children: object, **attributes: Any) -> Html:
    """``element("td", text, class_="figure", data_v=3)``; a child or an attribute that is None is left out.

    An underscore in the name of an attribute stands for a hyphen. ValueError: an attribute that the page's
    policy would block (`style`, `onclick`), or an address that leads out of the results tree's files.
    """
    said = "".join([_attribute(key, value) for key, value in attributes.items() if value is not None])
    inner = join([child for child in children if child is not None])
    if name in _VOID:
        return Html(f"<{name}{said}>")
    if name in _DRAWN and not inner:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{inner}</{name}>")


@cache
def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _attribute(key: str, value: Any) -> str:
    name = _name(key)
    if value is False:
        return ""
    if name == "style" or name.startswith("on"):
        raise ValueError(f"the attribute {name} is blocked by the page's policy: use a class, or the script")
    if name in _ADDRESSES and not _ADDRESS.fullmatch(str(value)):
        raise ValueError(f"{name}={value!r} is no path beside the page, no #place and no image in itself")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'


def embed(data: Any, id: str = "data") -> Html:
    """Data for the page's script: ``JSON.parse(document.getElementById("data").textContent)``.

    No text in it can end the element. ValueError: NaN or infinity, which JSON does not know.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: anything else as \uXXXX
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="{escape(id)}">{text}</script>')
