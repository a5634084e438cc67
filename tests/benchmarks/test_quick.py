"""Each benchmark runs in its smallest form and prints its table. Nothing is asserted of any time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def quick(name, tmp_path):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "ABLATE_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--device", "cpu", "--quick"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "cores, load" in lines[0] and "torch" in lines[0] and "ablate" in lines[0]
    assert lines[1] == f"$ python benchmarks/{name}.py --device cpu --quick"
    return done.stdout


def rows(output):
    """First cell -> the others, of every row of every table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if "|" in line
    ]
    return {first: others for first, *others in cells if not first.startswith("---")}


def test_step(tmp_path):
    found = rows(quick("step", tmp_path))
    for name in ("ours", "ours, no augmentation", "bare"):
        assert re.fullmatch(r"\d+\.\d{3} \(\d+\.\d{3}–\d+\.\d{3}\)", found[name][2])
    assert found["bare"][2] == "1.000 (1.000–1.000)"
    parts = [float(found[name][0]) for name in list(found)[list(found).index("Beyond the bare epoch") + 1 :]]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=1), "the parts make up the whole"


def test_script(tmp_path):
    output = quick("script", tmp_path)
    found = rows(output)
    assert found["ours"][2] == "1.00 (1.00–1.00)"
    assert float(found["plain script, 0 workers"][0].split()[0]) > 0
    for name, row in (("lightning", "Lightning, "), ("timm", "timm's loader, ")):
        left_out = f"{name} is not installed and was left out: pip install" in output
        assert left_out != any(key.startswith(row) for key in found)


@pytest.mark.slow
def test_study(tmp_path):
    output = quick("study", tmp_path)
    assert "msa.yaml, 2 trials (train.epochs=1 data.fraction=0.05" in output
    found = rows(output)
    assert found["ablate run"][2] == "1.00 (1.00–1.00)"
    assert sum(name.startswith("plain script") for name in found) == 2
