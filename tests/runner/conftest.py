"""A small study on digits, and training that costs nothing where a test is about what surrounds it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ablate.record import TrialMetrics, TrialRecord
from ablate.spec import Study, load_study
from ablate.store import TrialPaths, write_text

STUDY = """\
name: tiny
title: A study for tests
baseline: baseline
seeds: [0, 1]
defaults:
  data: {source: digits}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: se, args: {reduction: 4}, at: [block2]}
  train: {epochs: 1}
variants:
  baseline: {model.attention: null}
  se: {}
  se-early: {model.attention.at: [block1]}
analysis: {margin: 1.0}
"""


@pytest.fixture(scope="session", autouse=True)
def image_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("ABLATE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    """Memory and latency take seconds, and only the tests of costs are about them."""
    with monkeypatch.context() as patch:
        patch.setattr("ablate.runner.costs.measure_together", lambda *_: None)
        yield patch


@pytest.fixture
def make_study(tmp_path) -> Callable[..., Study]:
    """(*overrides, replace=(old, new)) -> the study of this file."""

    def make(*overrides: str, replace: tuple[str, str] | None = None) -> Study:
        text = STUDY
        if replace is not None:
            assert replace[0] in text
            text = text.replace(*replace)
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return load_study(path, overrides)

    return make


@pytest.fixture
def study(make_study) -> Study:
    return make_study()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def training(monkeypatch):
    """In place of training and drawing a report. `faults`: (variant, seed) -> the exception to raise."""
    state = SimpleNamespace(trained=[], faults={}, reports=[])

    def run_trial(settings, seed, *, folder, trial_id, variant_id, identity, environment, **_):
        paths = TrialPaths(folder)
        write_text(paths.progress, "{}")
        attention = settings.model.attention
        name = "baseline" if attention is None else {"block2": "se", "block1": "se-early"}[attention.at[0]]
        state.trained.append((name, seed))
        if (name, seed) in state.faults:
            raise state.faults[name, seed]
        write_text(paths.epochs, f"epoch,train_loss\n1,{seed}\n")
        paths.progress.unlink()
        return TrialRecord(
            id=trial_id,
            variant_id=variant_id,
            seed=seed,
            status="done",
            identity=identity,
            classes=10,
            test_count=360,
            metrics=TrialMetrics(
                accuracy=90.0 + seed,
                accuracy_best=90.0,
                best_epoch=1,
                test_loss=0.1,
                validation_accuracy=90.0,
                validation_loss=0.1,
                train_accuracy=90.0,
                train_loss=0.1,
            ),
            environment=environment,
            started="2025-01-01T00:00:00+00:00",
            wall_s=1.0,
        )

    def write_report(store, name):
        state.reports.append(name)
        return store.study(name).report_md

    monkeypatch.setattr("ablate.trial.run_trial", run_trial)
    monkeypatch.setattr("ablate.report.write_report", write_report)
    return state


@pytest.fixture
def recording():
    """A display that keeps what it is told."""
    told = SimpleNamespace(opening=None, finished=[], notes=[], message="", report="")
    return SimpleNamespace(
        told=told,
        step=lambda what, detail="": None,
        start=lambda opening: setattr(told, "opening", opening),
        finished=lambda trial, record: told.finished.append((trial.variant, trial.seed, record.status)),
        note=told.notes.append,
        end=lambda message, report: (setattr(told, "message", message), setattr(told, "report", report)),
    )
