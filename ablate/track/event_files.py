"""TensorBoard: one event file a trial, written without torch and without TensorFlow.

While a trial goes on its file grows. A file cannot take points back, so where a trial was cut back to a
checkpoint and trained on, or trained again, the whole file is written anew from the trial's own curves,
under a name that sorts after the old one; its first event tells a TensorBoard that is running to forget what
it read before. Values are 32-bit floats, as TensorBoard keeps scalars.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ablate.store import Store, write_bytes, write_text
from ablate.store.reading import read_bytes
from ablate.track.curves import Curves, Point, missing
from ablate.track.parameters import word
from ablate.track.snapshot import Snapshot, TrackedTrial

_PREFIX, _SUFFIX = "events.out.tfevents.", ".ablate"
_STATE = "ablate.json"
_MEMBER = re.compile(rf"{re.escape(_PREFIX)}(\d+){re.escape(_SUFFIX)}")


@dataclass
class _Open:
    """The file of a trial that goes on, and what is in it."""

    file: BinaryIO
    logged: dict[str, dict[int, float]] = field(default_factory=dict)


class EventFiles:
    """See `Tracker`. results/<study>/tensorboard/<variant>/seed-<n>/"""

    name = "tensorboard"

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self.root = store.study(study).tensorboard
        self.shown_by = f"tensorboard --logdir {shlex.quote(str(self.root))}"
        self._files: dict[str, _Open] = {}

    def open(self) -> None:
        self.close()
        import tensorboard.summary  # noqa: F401 - a broken installation is to be met here

    def close(self) -> None:
        while self._files:
            with contextlib.suppress(OSError):
                self._files.popitem()[1].file.close()

    def folder(self, trial: TrackedTrial) -> Path:
        """Of a run, as TensorBoard calls it. A plan that came from elsewhere names no folder outside."""
        part = re.sub(r"[^\w+.= -]", "_", trial.variant)
        part = part if part.strip(". ") else "_"
        above = [part] if not trial.pretraining else ["pretraining", part]
        return self._store.confined(self.root.joinpath(*above, f"seed-{trial.seed}"))

    def is_settled(self, trial: TrackedTrial, mark: str) -> bool:
        return self._settled(trial, mark) is not None

    def _settled(self, trial: TrackedTrial, mark: str) -> Path | None:
        """The file that holds all that this mark stands for."""
        content = read_bytes(self.folder(trial) / _STATE)
        try:
            said = json.loads(content or b"{}")
            path = self.folder(trial) / said["file"]
            return path if said["mark"] == mark and path.is_file() else None
        except (ValueError, TypeError, KeyError):
            return None

    def write(self, snapshot: Snapshot) -> None:
        if self._add_costs(snapshot):
            return
        wanted = snapshot.curves | {
            name: {0: Point(value, snapshot.ended_s)} for name, value in snapshot.costs.items()
        }
        known = self._files.get(snapshot.trial.id)
        gap = None if known is None else missing(known.logged, wanted, ended=snapshot.ended)
        if known is None or gap is None:
            known = self._anew(snapshot, wanted)
        else:
            self._append(known, gap, snapshot)
        if snapshot.ended:
            self._settle(snapshot, known)

    def _add_costs(self, snapshot: Snapshot) -> bool:
        """Costs are measured when the trials have ended, and go behind what is settled: to write everything
        anew for them would leave an emptied file beside every one."""
        path = self._settled(snapshot.trial, snapshot.mark_before_costs)
        if path is None or not snapshot.costs or snapshot.trial.id in self._files:
            return False
        state = path.parent / _STATE
        # Only a file that is whole is settled, and torn in between this one is not.
        state.unlink()
        costs = {name: {0: Point(value, snapshot.ended_s)} for name, value in snapshot.costs.items()}
        with path.open("ab") as file:
            file.write(_packed([*_scalars(costs), _words(snapshot)]))
        self._note_settled(snapshot, path.name)
        return True

    def _append(self, known: _Open, gap: Curves, snapshot: Snapshot) -> None:
        events = [*_scalars(gap), *([_end(snapshot)] if snapshot.ended else [])]
        try:
            known.file.write(_packed(events))
            known.file.flush()
        except BaseException:  # how much of it got through is not known: it is written anew
            self._drop(snapshot.trial.id)
            raise
        _note(known.logged, gap)

    def _anew(self, snapshot: Snapshot, wanted: Curves) -> _Open:
        """The whole file, under its own name in one piece; then the one before it is emptied."""
        self._drop(snapshot.trial.id)
        folder = self.folder(snapshot.trial)
        before = _members(folder)
        number = max([int(time.time() * 1000), *(int(_of(path)) + 1 for path in before)])
        path = folder / f"{_PREFIX}{number:014d}{_SUFFIX}"
        events = [*_head(snapshot), *_scalars(wanted), *([_end(snapshot)] if snapshot.ended else [])]
        write_bytes(path, _packed(events), durable=False)
        for old in before:
            _give_up(old)
        known = _Open(path.open("ab"))
        _note(known.logged, wanted)
        self._files[snapshot.trial.id] = known
        return known

    def _settle(self, snapshot: Snapshot, known: _Open) -> None:
        name = Path(known.file.name).name
        self._drop(snapshot.trial.id)
        self._note_settled(snapshot, name)

    def _note_settled(self, snapshot: Snapshot, name: str) -> None:
        state = {"trial": snapshot.trial.id, "mark": snapshot.mark, "file": name}
        write_text(self.folder(snapshot.trial) / _STATE, f"{json.dumps(state)}\n", durable=False)

    def _drop(self, trial_id: str) -> None:
        known = self._files.pop(trial_id, None)
        if known is not None:
            known.file.close()


def _members(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{_PREFIX}*{_SUFFIX}") if _MEMBER.fullmatch(path.name)]


def _give_up(path: Path) -> None:
    """A reader that stands in a file which is gone stays there for ever; from an empty one it moves on. So a
    file is emptied now, and goes the next time."""
    if path.stat().st_size:
        os.truncate(path, 0)
    else:
        path.unlink(missing_ok=True)


def _of(path: Path) -> str:
    return path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)


def _note(logged: dict[str, dict[int, float]], curves: Curves) -> None:
    for name, points in curves.items():
        logged.setdefault(name, {}).update((step, point.value) for step, point in points.items())


# Events


def _packed(events: Iterable[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString())
    return content.getvalue()


def _head(snapshot: Snapshot) -> list[Any]:
    """Version, a new beginning, the trial in words, its parameters."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    at_s = snapshot.began_s
    # Variants are the groups of the HParams page, seeds the repeats that it averages.
    parameters = hparams_pb(dict(snapshot.parameters), trial_id=snapshot.trial.variant, start_time_secs=at_s)
    return [
        Event(wall_time=at_s, file_version="brain.Event:2"),
        Event(wall_time=at_s, step=0, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=at_s, summary=_text("trial", _table(snapshot))),
        Event(wall_time=at_s, summary=parameters),
    ]


def _end(snapshot: Snapshot) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = Status.Value("STATUS_SUCCESS" if snapshot.state == "done" else "STATUS_FAILURE")
    said = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=snapshot.ended_s))
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(said),
        tensor=metadata.NULL_TENSOR,
    )
    summary.value.extend(_text("trial", _table(snapshot)).value)
    return Event(wall_time=snapshot.ended_s, step=1, summary=summary)


def _words(snapshot: Snapshot) -> Any:
    """The trial in words once more, now that they say more, behind those of its end."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=snapshot.ended_s, step=2, summary=_text("trial", _table(snapshot)))


def _text(tag: str, markdown: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text import metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    tensor = make_tensor_proto([markdown.encode()])
    said = metadata.create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=said, tensor=tensor)])


def _table(snapshot: Snapshot) -> str:
    rows = [*snapshot.tags.items(), *((name, word(value)) for name, value in snapshot.parameters.items())]
    cells = [(name, value.replace("|", "\\|").replace("\n", " ")) for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)])


def _scalars(curves: Curves) -> list[Any]:
    """A curve after the other, steps ascending: TensorBoard takes a smaller step for a new beginning."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return [
        Event(
            wall_time=points[step].time_s,
            step=step,
            summary=Summary(value=[Summary.Value(tag=name, simple_value=points[step].value)]),
        )
        for name, points in curves.items()
        for step in sorted(points)
    ]
