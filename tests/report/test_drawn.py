"""A figure is drawn again whenever anything that it shows, or that draws it, is another; else it is kept."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest

from ablate.report import drawn
from ablate.report.drawn import Drawing, draw_all

CALLS: list[tuple[Any, ...]] = []


def drawing_of(numbers: tuple[float, ...], name: str = "line") -> Drawing:
    return Drawing(name, draw_line, (numbers,))


def draw_line(numbers: tuple[float, ...]) -> Any:
    from matplotlib.figure import Figure

    CALLS.append(numbers)
    canvas = Figure(figsize=(3, 2), layout="constrained")
    axes = canvas.subplots()
    axes.plot(numbers)
    axes.text(1.1, 0.5, "beside the axes", transform=axes.transAxes)
    axes.set(xlabel="x", ylabel="y")
    return canvas


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture(autouse=True)
def nothing_drawn() -> None:
    CALLS.clear()


def test_unchanged_rows_are_not_drawn_again_and_changed_ones_are(tmp_path: Path) -> None:
    first = draw_all([drawing_of((1.0, 2.0))], tmp_path)
    put(tmp_path, first)
    assert draw_all([drawing_of((1.0, 2.0))], tmp_path) == first and len(CALLS) == 1
    other = draw_all([drawing_of((1.0, 2.0 + 1e-15))], tmp_path)
    assert len(CALLS) == 2 and other["line.png"] != first["line.png"]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_file_that_was_touched_or_is_gone_is_drawn_again(tmp_path: Path, kind: str) -> None:
    first = draw_all([drawing_of((1.0, 2.0))], tmp_path)
    path = tmp_path / f"line.{kind}"
    put(tmp_path, first)
    touched = bytearray(first[path.name])
    touched[len(touched) // 2] ^= 1
    path.write_bytes(bytes(touched))
    assert draw_all([drawing_of((1.0, 2.0))], tmp_path) == first and len(CALLS) == 2
    path.write_bytes(first[path.name][:-20])
    assert draw_all([drawing_of((1.0, 2.0))], tmp_path) == first and len(CALLS) == 3
    path.unlink()
    assert draw_all([drawing_of((1.0, 2.0))], tmp_path) == first and len(CALLS) == 4


def test_the_files_of_another_figure_do_not_stand_for_this_one(tmp_path: Path) -> None:
    old = draw_all([drawing_of((1.0, 2.0))], tmp_path)
    new = draw_all([drawing_of((3.0, 1.0))], tmp_path)
    put(tmp_path, {"line.svg": old["line.svg"], "line.png": new["line.png"]})  # a torn pair
    assert draw_all([drawing_of((3.0, 1.0))], tmp_path) == new and len(CALLS) == 3


def test_other_code_draws_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, draw_all([drawing_of((1.0, 2.0))], tmp_path))
    monkeypatch.setattr(drawn, "_code", lambda: b"another version")
    draw_all([drawing_of((1.0, 2.0))], tmp_path)
    assert len(CALLS) == 2


def test_one_layout_gives_the_svg_that_matplotlib_lays_out_itself(tmp_path: Path) -> None:
    """And the PNG has the same size on paper, within a pixel."""
    import matplotlib as mpl
    from PIL import Image

    from ablate.report.drawing import STYLE

    files = draw_all([drawing_of((1.0, 2.0))], tmp_path)
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        file = io.BytesIO()
        draw_line((1.0, 2.0)).savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    assert files["line.svg"] == file.getvalue()
    width_pt = float(files["line.svg"].split(b'width="')[1].split(b"pt")[0])
    with Image.open(io.BytesIO(files["line.png"])) as image:
        assert image.width == pytest.approx(width_pt / 72 * 160, abs=1.5)
