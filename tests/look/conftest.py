"""A study whose trials are trained for a moment, and networks whose attention has planted weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ablate.look.one import Subject
from ablate.models import Network, attach_attention, build_attention, build_backbone
from ablate.runner import plan_study, run_job
from ablate.spec import load_study
from ablate.store import Store

STUDY = """\
name: seen
title: '</script><script>document.title = 1</script> & "quoted"'
baseline: baseline
seeds: [0, 1, 2]
defaults:
  data: {source: digits, fraction: 0.3}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: msa, args: {reduction: 4}, at: [block1, block2]}
  train: {epochs: 1, batch_size: 64, keep: last}
variants:
  baseline: {model.attention: null}
  msa: {}
  self: {model.attention: {name: self-attention, at: [block2]}}
  none kept: {model.attention: {name: se, at: [block2]}, train.keep: none}
"""
TRAINED = (("baseline", 0), ("baseline", 1), ("msa", 0), ("self", 0), ("none kept", 0))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A results tree in which the trials of TRAINED are finished. To be read only."""
    folder = tmp_path_factory.mktemp("seen")
    (folder / "seen.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_CACHE", str(folder / "cache"))
        plan = plan_study(load_study(folder / "seen.yaml"), output=folder / "results", device="cpu")
        plan.store.write_plan(plan.record)
        ids = {
            variant.trials[seed]
            for variant in plan.record.variants
            for seed in plan.record.seeds
            if (variant.name, seed) in TRAINED
        }
        for wave in plan.waves:
            for trial in wave:
                if trial.job.trial_id in ids:
                    assert run_job(trial.job).status == "done"
        yield Store(folder / "results")


@pytest.fixture
def make_network() -> Callable[..., Network]:
    """(mechanism, at, args, backbone, shape) -> a network with that attention; None for without."""

    def make(
        mechanism: str | None,
        at: tuple[str, ...] = ("block2",),
        args: dict[str, Any] | None = None,
        *,
        backbone: str = "cnn",
        gate: str = "own",
        shape: tuple[int, int, int] = (1, 16, 16),
        backbone_args: dict[str, Any] | None = None,
    ) -> Network:
        given = {"width": 0.125} if backbone == "cnn" else {}
        torch.manual_seed(0)
        bare = build_backbone(backbone, classes=3, image_shape=shape, args=backbone_args or given)
        if mechanism is None:
            return Network(bare).eval()
        return attach_attention(
            bare,
            at,
            lambda spot: build_attention(
                mechanism, spot.channels, args or {}, gate=gate, map_shape=spot.shape[1:]
            ),
            image_shape=shape,
            seed=0,
        ).eval()

    return make


@pytest.fixture
def make_subject() -> Callable[..., Subject]:
    """(network, count, shape) -> it, before images of noise; labels 0, 1, 2, 0, …"""

    def make(
        network: Network,
        *,
        count: int = 6,
        sample: int = 30,
        shape: tuple[int, int, int] = (1, 16, 16),
        start: Network | None = None,
    ) -> Subject:
        generator = torch.Generator().manual_seed(1)
        labels = np.arange(sample, dtype=np.int64) % 3
        images = torch.randn(sample, *shape, generator=generator)
        return Subject(network, start, images[:count], labels[:count], images, labels, classes=3)

    return make


@pytest.fixture
def without_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where it is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
