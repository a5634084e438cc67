"""A look as files under `results/<study>/`: look.html, and look/ with figures and their numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.look import draw
from ablate.look.numbers import render_json
from ablate.look.page import render_page
from ablate.look.rows import Look, TrialLook
from ablate.store import Store, explained, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS = "look.json"
_ACROSS = 4  # trials in one figure of class activation
_KINDS = (".png", ".svg", ".json")
_SLUG = re.compile(r"[^a-z0-9]+")


def write_look(store: Store, look: Look, *, figures: bool = True) -> Path:
    """Write everything, remove figures of an earlier look, and give back the path of the page."""
    paths = store.study(look.study)
    folder = store.confined(paths.look)
    names = {NUMBERS}
    _write(store, folder / NUMBERS, render_json(look).encode())
    if figures:
        for name, content in _figures(look):
            names.add(name)
            _write(store, folder / name, content)
    for path in folder.rglob("*"):
        if path.suffix in _KINDS and path.relative_to(folder).as_posix() not in names:
            with explained("remove", path):
                path.unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):  # the inner ones first
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    _write(store, paths.look_html, render_page(look).encode())
    return paths.look_html


def _write(store: Store, path: Path, content: bytes) -> None:
    # It can be drawn again from the records: not worth waiting for the disk.
    write_bytes(store.confined(path), content, durable=False)


def _figures(look: Look) -> Iterator[tuple[str, bytes]]:
    """(name within look/, content) of every figure, one at a time: all of them may not fit into memory."""
    from matplotlib import rc_context

    with rc_context(draw.STYLE):
        activated = [trial for trial in look.trials if trial.cam is not None]
        for start in range(0, len(activated), _ACROSS):
            part = f"-{start // _ACROSS + 1}" if len(activated) > _ACROSS else ""
            yield f"class-activation{part}.png", _png(draw.draw_cam(look, activated[start : start + _ACROSS]))
        for trial, folder in zip(look.trials, _folders(look.trials), strict=True):
            yield from ((f"{folder}/{name}", content) for name, content in _of_trial(look, trial))


def _of_trial(look: Look, trial: TrialLook) -> Iterator[tuple[str, bytes]]:
    for layer in trial.layers:
        name = slug(layer.layer)
        yield f"features-{name}.png", _png(draw.draw_features(look, trial, layer))
        yield f"top-channels-{name}.png", _png(draw.draw_top_channels(look, trial, layer))
    for change in trial.changes:
        gates = [gate for gate in trial.gates if gate.place == change.place]
        branches = next((row for row in trial.branches if row.place == change.place), None)
        name = slug(change.place)
        yield f"attention-{name}.png", _png(draw.draw_place(look, trial, change, gates, branches))
    for row in trial.attention:
        name = slug(f"{row.place} {row.part}")
        yield f"self-attention-{name}.png", _png(draw.draw_attention(look, trial, row))
    if any(gate.kind == "channel" for gate in trial.gates):
        yield "channel-gates.svg", _svg(draw.draw_gates(look, trial))


def slug(text: str) -> str:
    return _SLUG.sub("-", text.lower()).strip("-") or "x"


def _folders(trials: tuple[TrialLook, ...]) -> list[str]:
    """A folder a trial: two names that differ in signs alone (`a+b`, `a-b`) get a number."""
    taken: dict[str, str] = {}
    names = []
    for trial in trials:
        base = name = slug(trial.variant)
        count = 2
        while taken.setdefault(name, trial.variant) != trial.variant:
            name, count = f"{base}-{count}", count + 1
        names.append(f"{name}/seed-{trial.seed}")
    return names


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
