"""Each benchmark runs in its smallest form and prints its table. Nothing is asserted of any time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CPU = ("--device", "cpu")


def quick(name, tmp_path, *options):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "ABLATE_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options, "--quick"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "cores, load" in lines[0] and "torch" in lines[0] and "ablate" in lines[0]
    assert lines[1] == f"$ python benchmarks/{name}.py {' '.join([*options, '--quick'])}"
    return done.stdout


def rows(output):
    """First cell -> the others, of every row of every table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if "|" in line
    ]
    return {first: others for first, *others in cells if not first.startswith("---")}


def test_step(tmp_path):
    found = rows(quick("step", tmp_path, *CPU))
    for name in ("ours", "ours, no augmentation", "bare"):
        assert re.fullmatch(r"\d+\.\d{3} \(\d+\.\d{3}–\d+\.\d{3}\)", found[name][2])
    assert found["bare"][2] == "1.000 (1.000–1.000)"
    parts = [float(found[name][0]) for name in list(found)[list(found).index("Beyond the bare epoch") + 1 :]]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=1), "the parts make up the whole"


def test_script(tmp_path):
    output = quick("script", tmp_path, *CPU)
    found = rows(output)
    assert found["ours"][2] == "1.00 (1.00–1.00)"
    assert float(found["plain script, 0 workers"][0].split()[0]) > 0
    for name, row in (("lightning", "Lightning, "), ("timm", "timm's loader, ")):
        left_out = f"{name} is not installed and was left out: pip install" in output
        assert left_out != any(key.startswith(row) for key in found)


@pytest.mark.slow
def test_study(tmp_path):
    output = quick("study", tmp_path, *CPU)
    assert "msa.yaml, 2 trials (train.epochs=1 data.fraction=0.05" in output
    found = rows(output)
    assert found["ablate run"][2] == "1.00 (1.00–1.00)"
    assert sum(name.startswith("plain script") for name in found) == 2


@pytest.mark.slow
def test_overhead(tmp_path):
    output = quick("overhead", tmp_path)
    found = rows(output)
    assert [found[name][1] for name in ("executor", "trial", "run")] == ["0", "0", "0"], "no trial failed"
    assert found["ablate, local, 2 workers"][3] == "1"
    for name, row in (("joblib", "joblib"), ("hydra-core", "Hydra's multirun"), ('"ray[tune]"', "Ray Tune")):
        left_out = f"{row} is not installed and was left out: pip install {name}" in output
        assert left_out != (row in found)


@pytest.mark.slow
def test_startup(tmp_path):
    output = quick("startup", tmp_path)
    assert "4 variants × 2 seeds = 8 trials" in output
    found = rows(output)
    assert [found[name][2] for name in ("--help", "validate msa.yaml", "plan msa.yaml", "report")] == [
        "0.3",
        "0.5",
        "3",
        "10",
    ]
    assert found["python -c pass"][3] == "1.0" and found["python -c 'import torch'"][4] == "1.00"


@pytest.mark.slow
def test_seeds(tmp_path):
    found = rows(quick("seeds", tmp_path, *CPU))
    assert found["one alone"][2] == "1.00 (1.00–1.00)"
    assert {"2 stacked", "2 streams", "2 processes"} <= found.keys()


def test_seeds_are_off_on_a_cpu_unless_asked_for(tmp_path):
    output = quick("seeds", tmp_path)
    if "CUDA" not in output.splitlines()[0]:
        assert "Off by design" in output and not rows(output)


def test_seeds_compares_accuracies(tmp_path):
    output = quick("seeds", tmp_path, "--accuracy", *CPU)
    found = rows(output)
    apart = float(found["stacked"][0]) - float(found["alone"][0])
    assert float(found["stacked - alone, paired"][0]) == pytest.approx(apart, abs=2e-3)
    assert "points: " in output.splitlines()[-1]


def test_the_made_up_tree_is_whole_and_reported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from made_up_tree import STUDY, write_tree

    from ablate.report import build_report
    from ablate.store import Store

    store = Store(tmp_path)
    write_tree(tmp_path, 30, 3)
    for trial_id in store.trial_ids():
        store.check_files(trial_id)
    report = build_report(store, STUDY)
    assert [row.n for row in report.variants] == [3] * 30
    assert len(report.curves) == 90 and not report.twins
    assert [effect for effect in report.effects if effect.missing] == []
    assert {len(sweep.levels) for sweep in report.sweeps} == {13} and len(report.sweeps) == 1


@pytest.mark.slow
def test_scale(tmp_path):
    output = quick("scale", tmp_path)
    found = rows(output)
    files = {"record.json", "settings.yaml", "epochs.csv", "predictions.npz", "weights.safetensors"}
    assert files <= found.keys()
    parts = [int(found[name][0].replace(",", "")) for name in found if "." in name and " " not in name]
    assert sum(parts) == int(found["together"][0].replace(",", ""))
    assert "~: extrapolated" in output and "| 10,000 | 512 |" in output
