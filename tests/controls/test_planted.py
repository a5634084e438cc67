"""A planted no-op from file to report: found before training, and found again in what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablate.controls import find_no_ops
from ablate.report import render_study
from ablate.runner import plan_study, run_study
from ablate.spec import load_study
from ablate.store import Store
from ablate.trial import build_for

MODULE = """\
from torch import nn

class Gate(nn.Module):
    def __init__(self, channels, **kwargs):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
"""

STUDY = """\
name: planted
baseline: baseline
seeds: 2
defaults:
  data: {source: digits, fraction: 0.2}
  model:
    args: {width: 0.125}
    attention: {name: "planted_gate:Gate", at: [block1, block2]}
  train: {epochs: 1}
variants:
  baseline: {model.attention: null}
  gate: {}
  gate with ratio: {model.attention.args.ratio: 4}
  elsewhere: {model.attention.at: [block3]}
"""


def test_a_planted_no_op_is_found_before_and_after_training(
    tmp_path: Path, own_module: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    own_module("planted_gate", MODULE)
    path = tmp_path / "planted.yaml"
    path.write_text(STUDY)
    study, root = load_study(path), tmp_path / "results"
    plan = plan_study(study, output=root)
    (found,) = find_no_ops(plan.variants, plan.inspections, plan.images, build_for)
    assert (found.variant, found.against, dict(found.settings)) == (
        "gate with ratio",
        "gate",
        {"model.attention.args.ratio": ("not set", "4")},
    )
    summary = run_study(study, output=root, executor="inline", jobs=1)
    assert summary.exit_code == 0
    told: dict[str, Any] = json.loads(render_study(Store(root), "planted", "json"))
    (twins,) = told["identical"]
    assert (twins["variants"], twins["seeds"]) == (["gate", "gate with ratio"], [0, 1])
    assert any("gate and gate with ratio gave identical predictions" in line for line in told["headline"])
