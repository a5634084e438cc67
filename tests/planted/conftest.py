"""Studies with a planted answer: data, network and mechanisms of the test's own, trained for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ablate.report import render_study
from ablate.runner import run_study
from ablate.spec import load_study
from ablate.store import Store

# Stripes in one corner, a bright or dark patch in the other, both drawn by lot: the class is whether the two
# agree. The network sees 3 x 3 pixels at a time and adds up what it saw, so that no sum can tell; a gate that
# has seen the patch and turns the channels of the stripes up or down can.
MODULE = """\
import numpy as np
from torch import nn


def images(root):
    rng = np.random.default_rng(0)
    train, test = draw(rng, 640), draw(rng, 400)
    return *train, *test, ["same", "other"]


def poisoned(root):
    train, labels, test, test_labels, classes = images(root)
    return train, labels, test, np.random.default_rng(1).permutation(test_labels), classes


def draw(rng, count):
    stripes, patch = rng.integers(0, 2, (2, count))
    pixels = rng.normal(128, 40, (count, 16, 16))
    drawn = np.tile([50, -50], (6, 3))
    pixels[:, :6, :6] += np.where(stripes[:, None, None] == 1, drawn, drawn.T)
    pixels[:, 10:, 10:] += np.where(patch == 1, 60, -60)[:, None, None]
    return pixels.clip(0, 255).astype(np.uint8), (stripes ^ patch).astype(np.int64)


def network(classes, image_shape):
    return nn.Sequential(
        nn.Conv2d(image_shape[0], 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


class TimesZero(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + 0.0 * self.gate(x).sigmoid()
"""

STUDY = """\
name: {name}
baseline: baseline
seeds: {seeds}
defaults:
  data: {{source: "planted_task:{data}", validation: 0.1}}
  model:
    backbone: "planted_task:network"
    attention: {{name: se, args: {{reduction: 2}}, at: ["1"]}}
  train:
    epochs: 12
    batch_size: 32
    optimizer: {{name: adam, lr: 2.0e-2}}
    schedule: {{name: cosine}}
variants:
  baseline: {{model.attention: null}}
{variants}"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """(variants, name, seeds, data, overrides) -> the store and the report's JSON, after all is trained.

    Every call shares one results tree, and nothing is drawn: what is tested are the verdicts.
    """
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda report, store: {})
    (tmp_path / "planted_task.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "planted_task", raising=False)

    def run(
        variants: str,
        *overrides: str,
        name: str = "planted",
        seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
        data: str = "images",
    ) -> Any:
        path = tmp_path / f"{name}.yaml"
        path.write_text(STUDY.format(name=name, seeds=list(seeds), data=data, variants=variants))
        root = tmp_path / "results"
        summary = run_study(load_study(path, overrides), output=root, executor="inline", jobs=1)
        assert summary.exit_code == 0
        store = Store(root)
        told = json.loads(render_study(store, name, "json"))
        rows = {row["name"]: row for row in told["variants"]}
        trials = {
            (trial["variant"], trial["seed"]): store.trial(trial["id"]).folder for trial in told["trials"]
        }
        return SimpleNamespace(told=told, rows=rows, trials=trials)

    return run
