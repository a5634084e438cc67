"""`ablate bench` in this process, a small study, and a session with planted figures."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.bench import Bench, Conditions, Costs
from ablate.cli import main
from ablate.environment import describe
from ablate.measure import LatencyRatio, MemoryPeak, Timing

STUDY = """\
name: tiny
baseline: baseline
seeds: 1
defaults:
  data: {source: digits}
  model:
    args: {width: 0.125}
    attention: {name: se, args: {reduction: 4}, at: [block2]}
  train: {epochs: 1, batch_size: 16}
variants:
  baseline: {model.attention: null}
  se: {}
  se-longer: {train.epochs: 2}
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def ablate() -> Callable[..., tuple[int, str, str]]:
    """Exit code, standard output and standard error of `ablate …`, run in this process."""

    def run(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main(arguments)
        return int(ended.value.code or 0), out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_MACHINE", "here")
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def measured() -> Bench:
    missing = MemoryPeak(None, "not measured: planted")
    costs = Costs(
        name="net",
        param_count=1_500_000,
        attention_param_count=0,
        macs=11_375_616,
        attention_macs=0,
        activations=57_866,
        saved_bytes=1000,
        training=missing,
        train_batch=8,
        inference=MemoryPeak(3 * 2**20, "MemTracker"),
        timing=Timing((1.0, 2.0, 3.0), (2.0,)),
        images_per_s=1234.56,
    )
    ratio = LatencyRatio("net", "other", 1.5, 0.0, math.inf, 1.0, 1, "one round tells nothing")
    return Bench(
        Conditions(rounds=1),
        describe("cpu", threads=1),
        "2026-01-01T00:00:00+00:00",
        64,
        None,
        (costs,),
        (ratio,),
        ("the load was 9.0 on 2 cores before it began",),
    )
