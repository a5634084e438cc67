"""A small study to tune, and training that takes no time: its curves follow from the settings alone."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ablate.spec import Study, load_study

FAKE = Path(__file__).with_name("fake_training.py")
STUDY = """\
name: tiny
baseline: baseline
seeds: [0, 1]
defaults:
  data: {source: digits}
  model:
    backbone: cnn
    args: {width: 0.5}
    attention: {name: se, args: {reduction: 4}, at: [block2]}
  train: {epochs: 4, optimizer: {lr: 0.01}}
variants:
  baseline: {model.attention: null}
  se: {}
tune:
  from: se
"""


@pytest.fixture(scope="session", autouse=True)
def image_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("ABLATE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_training", FAKE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_training"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def training(fake, monkeypatch):
    """Training that is a formula. `.trained`: (settings, seed) in order. `.epochs`: how many in all."""
    state = fake.Training()
    monkeypatch.setattr("ablate.trial.run_trial", state.run_trial)
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})  # slower than all else
    return state


@pytest.fixture
def write(tmp_path) -> Callable[[str], Path]:
    """The lines of the section tune after `from: se`, indented by two -> the study's file."""

    def write(tune: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(STUDY + "".join(f"  {line}\n" for line in tune.strip().splitlines()))
        return path

    return write


@pytest.fixture
def make(write) -> Callable[..., Study]:
    return lambda tune, *overrides: load_study(write(tune), overrides)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def command(tmp_path) -> Callable[..., list[str]]:
    """The command line of a process that tunes with fake training, in its own or in that of its workers."""

    def command(study: Path, root: Path, *options: str, workers: int = 0) -> list[str]:
        where = ["--executor", "local", "-j", str(workers)] if workers else ["--executor", "inline"]
        return [sys.executable, str(FAKE), str(study), "-o", str(root), *where, *options]

    return command


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
