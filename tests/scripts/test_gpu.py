"""`scripts/gpu.sh`: its studies hold, its archive comes back whole, and stopped anywhere it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablate.spec import load_study
from ablate.store import Store

HERE = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(HERE / "scripts" / "gpu"))

from jobs import JOBS  # noqa: E402 - a script's own module, beside it
from pack import MOST_PARTS, NAME, PART_BYTES, join_parts, pack  # noqa: E402

UNPACK = """\
import shutil, sys
from pathlib import Path
target = Path(sys.argv[1])
for pack in sys.argv[2:]:
    shutil.copytree(Path(pack).with_suffix(""), target / Path(pack).stem.split("-")[1], dirs_exist_ok=True)
"""


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize(
    "place", range(len(JOBS)), ids=[f"{place}-{job.name}" for place, job in enumerate(JOBS)]
)
def test_every_study_holds_with_what_is_laid_over_it(place: int, small: bool) -> None:
    job = JOBS[place]
    settings = [f"name={job.name}", *job.settings, *(job.small if small else ())]
    study = load_study(HERE / "studies" / f"{job.study}.yaml", settings)
    assert study.name == job.name
    least = 0 if "costs" in job.name else 2 if small else 5
    assert len(study.seeds) >= least
    if job.name == "cnn-se" and not small:
        assert (len(study.seeds), study.defaults.train.epochs) == (10, 50), "what the claim C1 asks for"


def test_an_archive_comes_back_as_it_was_but_for_what_no_report_needs(tmp_path: Path) -> None:
    """More than one part of it, and none larger than what can be carried."""
    tree = tmp_path / "tree"
    noise = np.random.default_rng(0).bytes(PART_BYTES + 2**20)
    kept = {"trials/a/record.json": b"{}", "trials/a/predictions.npz": noise, "gpu/state.json": b"{}"}
    left = {"trials/a/steps.csv": b"1", "trials/a/checkpoint-1.safetensors": b"1", "trials/a.lock": b"1"}
    for name, content in (kept | left).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    parts, _ = pack(tree, tmp_path / "out")
    assert [part.name for part in parts] == [f"{NAME}.00", f"{NAME}.01"] and len(parts) <= MOST_PARTS
    assert max(part.stat().st_size for part in parts) <= PART_BYTES
    join_parts(tmp_path / "out", tmp_path / "again")
    found = {
        str(path.relative_to(tmp_path / "again")): path.read_bytes()
        for path in (tmp_path / "again").rglob("*")
        if path.is_file()
    }
    assert found == kept


def test_a_tree_that_is_too_large_goes_without_predictions(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    generator = np.random.default_rng(0)
    for number in range(MOST_PARTS + 1):
        folder = tree / "trials" / str(number)
        folder.mkdir(parents=True)
        (folder / "predictions.npz").write_bytes(generator.bytes(PART_BYTES))
        (folder / "record.json").write_text("{}")
    parts, said = pack(tree, out)
    assert len(parts) == 1 and "without predictions" in said
    join_parts(out, tmp_path / "again")
    assert len(list((tmp_path / "again").rglob("record.json"))) == MOST_PARTS + 1


class Machine:
    """A bare machine: the scripts, the studies, and a folder of what was sent along; no network."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.out = root, folder, root / "out"
        root.mkdir()
        for name in ("scripts", "studies"):
            shutil.copytree(HERE / name, root / name)
        self.tree = root / "results" / "gpu"

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = ["bash", "scripts/gpu.sh", "--from", str(self.folder), "--out", str(self.out)]
        command += ["--device", "cpu", "--small", "--skip", "tests,benchmarks", *options]
        environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHON": sys.executable}
        environment.pop("OUT", None)
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finished(self) -> set[str]:
        return {record.id for record in Store(self.tree).trials()} if self.tree.is_dir() else set()


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """What travels: no wheels, and packs of 150 images a class in place of 1,250."""
    folder = tmp_path / "sent"
    (folder / "wheels").mkdir(parents=True)
    (folder / "unpack_cifar10.py").write_text(UNPACK)
    generator = np.random.default_rng(0)
    for pack_name, count in (("train-0", 150), ("test", 3)):
        (folder / f"cifar10-{pack_name}.npz").write_bytes(b"")
        for label in range(10):
            of_class = folder / f"cifar10-{pack_name}" / f"class{label}"
            of_class.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(of_class / f"{pack_name}-{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_stopped_and_carried_to_a_fresh_machine_it_goes_on_to_the_end(tmp_path: Path, sent: Path) -> None:
    only = ("--minutes", "20", "--only", "cnn-se,cnn-se-costs-gpu")
    first = Machine(tmp_path / "first", sent)
    running = first.start(*only)
    patience = time.monotonic() + 480
    while not first.finished() and running.poll() is None and time.monotonic() < patience:
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 75, said
    assert said.index("cnn-se: 4 trials of ") < said.index("cnn-se-costs-gpu: 0 trials of ")
    assert said.index("minutes in all") < said.index("== study cnn-se"), "before anything is trained"
    done = first.finished()
    assert done and "stopped by SIGTERM; the same command goes on from here" in said

    shutil.move(first.out, sent / "back")
    second = Machine(tmp_path / "second", sent)
    running = second.start(*only)
    said, _ = running.communicate(timeout=600)
    assert running.returncode == 0, said
    assert "== going on from" in said and "everything asked for is done" in said
    store = Store(second.tree)
    assert done <= second.finished()
    carried = {record.id: record.started for record in Store(first.tree).trials()}
    assert {i: store.read_trial(i).started for i in done} == carried, "nothing finished was trained again"
    plan = store.read_plan("cnn-se")
    asked = [variant for variant in plan.variants if variant.name in ("baseline", "se")]
    assert len(asked) == 2 and {i for v in asked for i in v.trials.values()} <= second.finished()
    for name in ("cnn-se", "cnn-se-costs-gpu"):
        report = (second.tree / name / "report.md").read_text(encoding="utf-8")
        assert "A trial of the script that runs it" in report.splitlines()[2]
    join_parts(second.out, tmp_path / "back")
    assert {record.id for record in Store(tmp_path / "back").trials()} == second.finished()
    assert json.loads((tmp_path / "back" / "gpu" / "state.json").read_text())


def test_what_is_missing_is_named_before_anything_begins(tmp_path: Path, sent: Path) -> None:
    machine = Machine(tmp_path / "machine", sent)
    (sent / "cifar10-test.npz").unlink()
    said, _ = machine.start().communicate(timeout=60)
    assert (
        "cifar10-test.npz and at least one cifar10-train-N.npz are needed; there is: cifar10-train-0.npz"
        in said
    )
    said, _ = machine.start("--only", "cnn").communicate(timeout=60)
    assert "--only: no study cnn; there is: cnn-se, msa-cifar10" in said
