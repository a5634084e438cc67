"""Figures as files: each is laid out once and drawn twice, as SVG and as PNG; none is drawn again unchanged.

The PNG carries a digest of everything that it and the SVG beside it were drawn from, and one of that SVG.
A pair of files is taken for the figure only where both hold, so an old figure never stands for a new one.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import platform
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"
_DRAWN_BY = ("matplotlib", "numpy", "pandas", "pillow", "seaborn")


@dataclass(frozen=True, slots=True)
class Drawing:
    """draw(*arguments) gives the matplotlib figure: nothing else decides what it shows."""

    name: str
    draw: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def source(self) -> str:
        """The same only where the same code draws the same rows."""
        told = pickle.dumps((self.draw, self.arguments), protocol=5)
        return hashlib.sha256(_code() + told).hexdigest()


@cache
def _code() -> bytes:
    """Whatever may change a drawing and is no row: our own modules, and what they draw with."""
    digest = hashlib.sha256(" ".join([platform.python_version(), *map(version, _DRAWN_BY)]).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def draw_all(drawings: Iterable[Drawing], folder: Path) -> dict[str, bytes]:
    """File name -> content, an SVG and a PNG each. folder: where those of an earlier report may lie."""
    found: dict[str, bytes] = {}
    for drawing in drawings:
        source = drawing.source
        svg, png = _drawn_before(folder / drawing.name, source) or _draw(drawing, source)
        found |= {f"{drawing.name}.svg": svg, f"{drawing.name}.png": png}
    return found


def _draw(drawing: Drawing, source: str) -> tuple[bytes, bytes]:
    import matplotlib as mpl

    from ablate.report.drawing import STYLE

    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change a report
        for key, value in STYLE.items():
            mpl.rcParams[key] = value
        canvas = drawing.draw(*drawing.arguments)
        box = _lay_out(canvas)
        svg = _saved(canvas, box, "svg", {"Date": None})
        canvas.set_layout_engine(None)  # with "none" it would be drawn once more to settle what is settled
        return svg, _saved(canvas, box, "png", {"Software": None, "Source": _said(source, svg)})


def _lay_out(canvas: Any) -> Any:
    """As matplotlib would for an SVG with a tight box, which it then does for every format anew: what is
    drawn, in inches. From here on the layout stands.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas.set_dpi(72)  # that of an SVG
    FigureCanvasSVG(canvas)
    canvas.get_layout_engine().execute(canvas)
    canvas.set_layout_engine("none")
    return canvas.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])


def _saved(canvas: Any, box: Any, kind: str, metadata: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format=kind, metadata=metadata, bbox_inches=box)
    return file.getvalue()


def _drawn_before(path: Path, source: str) -> tuple[bytes, bytes] | None:
    try:
        svg, png = (path.with_name(f"{path.name}.{kind}").read_bytes() for kind in ("svg", "png"))
    except OSError:  # whoever writes them next says what is wrong
        return None
    return (svg, png) if _text(png, "Source") == _said(source, svg) else None


def _said(source: str, svg: bytes) -> str:
    return f"drawn from {source}; SVG {hashlib.sha256(svg).hexdigest()}"


def _text(png: bytes, keyword: str) -> str | None:
    """What a whole PNG says under this keyword; None of one that is damaged."""
    found, at = None, len(_PNG)
    while png.startswith(_PNG) and at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])
        chunk = png[at + 4 : end]
        if zlib.crc32(chunk) != int.from_bytes(png[end : end + 4]):
            return None
        if chunk.startswith(b"tEXt" + keyword.encode() + b"\0"):
            found = chunk[len(keyword) + 5 :].decode("latin-1")
        if chunk == b"IEND":
            return found
        at = end + 4
    return None
