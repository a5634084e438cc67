"""What is published of a trial is small, says the same, and tells nothing of the machine's folders."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.record import CostRecord, Environment
from ablate.runner import run_study
from ablate.spec import load_study
from ablate.store import Store

HERE = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(HERE / "scripts"))

from publish import compact, merged, places_in, publish  # noqa: E402 - a script

STUDY = """\
name: tiny
baseline: baseline
seeds: 2
defaults:
  data: {source: digits}
  model: {backbone: cnn, args: {width: 0.125}}
  train: {epochs: 1, batch_size: 256}
variants:
  baseline: {}
  se: {model.attention: {name: se, args: {reduction: 4}, at: [block2]}}
"""


def predictions(count: int = 10_000) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(10), count // 10)
    predicted = np.where(generator.random(count) < 0.6, label, generator.integers(0, 10, count))
    return {
        "label": label,
        "predicted": predicted,
        "predicted_best": predicted[::-1].copy(),
        "probability": generator.random(count, dtype=np.float32),
        "index": np.arange(count) + 300,  # beyond one byte
    }


def test_predictions_are_those_that_they_were_in_a_third_of_the_room() -> None:
    arrays = predictions()
    usual = io.BytesIO()
    np.savez_compressed(usual, **arrays)
    small = compact(arrays)
    assert len(small) < 0.45 * len(usual.getvalue())
    assert small == compact(arrays), "equal predictions give equal bytes"
    with np.load(io.BytesIO(small), allow_pickle=False) as found:
        for name in ("label", "predicted", "predicted_best", "index"):
            assert np.array_equal(found[name], arrays[name]), name
        assert np.abs(found["probability"] - arrays["probability"]).max() < 0.0055


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("root: /tmp/me/data", ["/tmp/me/data"]),
        ("/root/.cache/ablate and /home/her/x.py:12", ["/root/.cache/ablate", "/home/her/x.py"]),
        ("data/cifar10, ../../docs/tmp/x, https://host/tmp/x, images/s", []),
    ],
)
def test_a_path_of_the_machine_is_found(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert places_in(tmp_path / "a.yaml") == found


def test_a_study_is_published_whole_and_again_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published from what was published, every file is the same, so nothing that counts was left behind."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ablate.runner.costs.measure_together", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(STUDY)
    run_study(load_study("tiny.yaml"), output="run", device="cpu", executor="inline")
    publish(Store("run"), Store("once"), ["tiny"])
    assert Store("once").read_plan("tiny").looks == Store("run").read_plan("tiny").looks, "no look of its own"
    publish(Store("once"), Store("twice"), ["tiny"])
    once, twice = (
        {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
        for root in ("once", "twice")
    )
    assert once == twice
    kinds = {Path(name).name for name in once if name.startswith("trials/")}
    assert kinds == {"record.json", "settings.yaml", "epochs.csv", "predictions.npz"}
    assert once["tiny/report.md"] == Path("run/tiny/report.md").read_bytes()
    for trial_id in Store("once").trial_ids():
        Store("once").check_files(trial_id)


def test_a_study_that_names_a_path_of_the_machine_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 0"))
    monkeypatch.setattr("ablate.runner.costs.measure_together", lambda *_: None)
    run_study(load_study(tmp_path / "tiny.yaml"), output=tmp_path / "run", device="cpu")
    with pytest.raises(SystemExit, match="tiny names paths of this machine: /tmp/"):
        publish(Store(tmp_path / "run"), Store(tmp_path / "out"), ["tiny"])
    assert not (tmp_path / "out").exists()


def cost(measured: str, rounds_ms: tuple[float, ...], **more: Any) -> CostRecord:
    texts = ("ablate", "python", "torch", "numpy", "platform", "machine", "cpu", "device", "device_name")
    environment = Environment(**dict.fromkeys(texts, "x"), cpu_count=1, threads=1)
    fields = {"id": "ab" * 8, "machine": "m", "settings": {}, "input_shape": (1, 8, 8), "param_count": 5}
    fields |= {"attention_param_count": 0, "macs": 7, "environment": environment, "measured": measured}
    if rounds_ms:
        fields |= {"latency_ms": 1.0, "latency_rounds_ms": rounds_ms, "latency_session": measured}
    return CostRecord(**(fields | more))


def test_of_two_measurements_on_one_machine_no_session_is_lost() -> None:
    """Each was timed beside other networks, and is compared with them alone."""
    early, late = cost("2026-01-01T00:00:00Z", (1.0, 1.1)), cost("2026-02-01T00:00:00Z", (2.0, 2.2))
    for found in (merged(early, late), merged(late, early)):
        assert found.measured == late.measured
        assert found.sessions == early.sessions | late.sessions
    counted = cost("2026-03-01T00:00:00Z", ())
    assert merged(counted, early) == early, "what was only counted later takes nothing away"
    assert merged(early, None) == early


def test_a_study_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no study a; there is: "):
        publish(Store(tmp_path), Store(tmp_path / "out"), ["a"])
