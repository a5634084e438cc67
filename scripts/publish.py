"""Takes the studies of a results tree into `results/published`: what their reports rest on, and no more.

    python scripts/publish.py SOURCE [TARGET] [--study NAME]…     TARGET: results/published

Of each trial: record, settings, epochs.csv, and predictions in a third of the room (whole numbers of one or
two bytes, probabilities rounded to two decimals). Weights, checkpoints, curves by step and logs stay behind.
What was taken must give the reports of the source, word for word. Then all reports of TARGET are written
anew.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ablate.record import CostRecord, StudyPlan, TimedRounds
from ablate.report import render_study, write_report
from ablate.store import Store

PUBLISHED = Path("results/published")
# Of a study's folder, beside plan.json: how it was written, and what `ablate bench --depth 2` counted.
BESIDE = ("study.yaml", "modules.json")
_ADDED = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive knows: equal arrays give equal bytes
# A folder of somebody's machine; a study names its data by a path relative to where it is run.
_PLACE = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|work|Users|mnt|opt|usr|var)/[\w./-]+")


def publish(source: Store, target: Store, studies: list[str]) -> None:
    """Raises SystemExit, and leaves the target as it was, where what would be taken of a study gives another
    report, or names a path of this machine.
    """
    plans = []
    for name in studies:
        plan = source.read_plan(name)
        if plan is None:
            sys.exit(f"{source.root}: no study {name}; there is: {', '.join(source.studies())}")
        with tempfile.TemporaryDirectory() as folder:
            alone = Store(folder)
            take(source, alone, plan)
            if render_study(alone, name, "markdown") != render_study(source, name, "markdown"):
                sys.exit(f"{name}: what is taken gives another report than {source.root}")
            if places := sorted({place for path in alone.root.rglob("*") for place in places_in(path)}):
                sys.exit(f"{name} names paths of this machine: {', '.join(places[:5])}")
        plans.append(plan)
    for plan in plans:
        take(source, target, plan)
    # Studies share trials and costs: what came with one may complete the report of another.
    for name in target.studies():
        write_report(target, name)
        folder = target.study(name).folder
        print(f"{name}: {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes")


def take(source: Store, target: Store, plan: StudyPlan) -> None:
    """The plan with its trials, as far as they are finished, and its costs."""
    variants = (*plan.pretraining, *plan.variants)
    for trial_id in dict.fromkeys(i for variant in variants for i in variant.trials.values()):
        record = source.read_trial(trial_id)
        if record is None:
            continue
        source.check_files(trial_id)
        before, after = source.trial(trial_id), target.trial(trial_id)
        after.folder.mkdir(parents=True, exist_ok=True)
        for path in (before.settings, before.epochs):
            if path.is_file():
                shutil.copyfile(path, after.folder / path.name)
        arrays = source.read_predictions(trial_id, record)
        if arrays is not None:
            after.predictions.write_bytes(compact(arrays))
        target.write_trial(record)
    for cost_id in dict.fromkeys(variant.cost_id for variant in plan.variants):
        known = {cost.machine: cost for cost in target.read_costs(cost_id)}
        for cost in source.read_costs(cost_id):
            target.write_cost(merged(cost, known.get(cost.machine)))
    folder = target.study(plan.study).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in BESIDE:
        if (found := source.study(plan.study).folder / name).is_file():
            shutil.copyfile(found, folder / name)
    # As it is: `write_plan` would date the claims by what is published already.
    shutil.copyfile(source.study(plan.study).plan, target.study(plan.study).plan)


def merged(one: CostRecord, other: CostRecord | None) -> CostRecord:
    """The later of two measurements on a machine, with the rounds of both: each session compares its own."""
    if other is None or other.measured == one.measured:
        return one
    first, last = sorted((one, other), key=lambda cost: (cost.latency_ms is not None, cost.measured))
    sessions = first.sessions | last.sessions
    earlier = (
        TimedRounds(session=session, rounds_ms=rounds_ms)
        for session, rounds_ms in sessions.items()
        if session != last.latency_session
    )
    return last.model_copy(update={"earlier_rounds": tuple(earlier)})


def compact(arrays: Mapping[str, np.ndarray]) -> bytes:
    """predictions.npz with whole numbers as narrow as they go and probabilities of two decimals."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_BZIP2) as archive:
        for name, values in arrays.items():
            if values.dtype.kind == "f":
                narrow = np.round(values, 2).astype(np.float16)
            else:
                narrow = values.astype(np.min_scalar_type(int(values.max(initial=0))))
            member = io.BytesIO()
            np.save(member, narrow, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _ADDED)
            archive.writestr(info, member.getvalue(), zipfile.ZIP_BZIP2)
    return written.getvalue()


def places_in(path: Path) -> list[str]:
    """Absolute paths in a text file."""
    if path.suffix not in (".json", ".yaml", ".csv", ".md", ".html", ".tex"):
        return []
    return _PLACE.findall(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--study", action="append", default=[], help="by default all of them")
    asked = parser.parse_args()
    source, target = Store(asked.source), Store(asked.target)
    publish(source, target, asked.study or list(source.studies()))


if __name__ == "__main__":
    main()
