"""A study with a fault of every kind, run as a user runs it, with real processes and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ablate.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
PATIENCE_S = 90  # how long a test waits for what must happen; none asserts how fast it does

FAULTY = """
import os
import signal
import subprocess
import time
from pathlib import Path

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, channels, fault="none"):
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        # Planning runs the network as well, in the parent; these faults are those of a trial.
        in_trial = "ABLATE_WORKER" in os.environ
        if in_trial and self.training:
            misbehave(self.fault, x)
        return x * self.scale * (float("nan") if in_trial and self.fault == "nan" else 1.0)


def misbehave(fault, x):
    marker = Path(f"{fault}.marker")
    if fault == "raise":
        raise KeyError("a planted fault")
    if fault == "shape":
        x + torch.zeros(x.shape[0], x.shape[1] + 1, 1, 1)
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "killed-once" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory":
        raise MemoryError
    if fault == "hang" and not marker.exists():
        child = subprocess.Popen(["sleep", "600"])
        marker.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
        marker.with_suffix(".new").rename(marker)
        time.sleep(600)
"""
STUDY = """\
name: faulty
baseline: baseline
seeds: [0]
defaults:
  data: {{source: digits, fraction: 0.2}}
  model:
    backbone: cnn
    args: {{width: 0.125}}
    attention: {{name: "faulty:Gate", at: [block2]}}
  train: {{epochs: 1}}
variants:
  baseline: {{model.attention: null}}
{variants}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)

    def write(*faults):
        lines = [f"  {fault}: {{model.attention.args.fault: {fault}}}" for fault in faults]
        (tmp_path / "faulty.yaml").write_text(STUDY.format(variants="\n".join(lines)))
        return tmp_path

    return write


def command(folder, *options):
    return {
        "args": [sys.executable, "-m", "ablate", "run", "faulty.yaml", "--device", "cpu", *options],
        "cwd": folder,
        "env": os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        "text": True,
    }


def records(folder):
    """By variant."""
    store = Store(folder / "results")
    plan = store.read_plan("faulty")
    found = {variant.name: store.read_trial(variant.trials[0]) for variant in plan.variants}
    return {name: record for name, record in found.items() if record is not None}


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen in {PATIENCE_S} s")


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_every_fault_is_a_record_of_its_own_kind_and_the_others_go_on(folder):
    """Shown at once and again at the end, in the record, in the log and in the report."""
    at = folder("none", "raise", "shape", "segfault", "killed-once", "memory", "nan")
    done = subprocess.run(**command(at, "-j", "2"), capture_output=True)
    assert done.stderr == ""
    assert done.returncode == 1
    found = records(at)
    kinds = {name: record.failure.kind for name, record in found.items() if record.failure}
    assert kinds == {
        "raise": "exception",
        "shape": "exception",
        "segfault": "crashed",
        "memory": "out-of-memory",
        "nan": "non-finite",
    }
    assert {name for name, record in found.items() if record.status == "done"} == {
        "baseline",
        "none",
        "killed-once",
    }
    failures = {name: found[name].failure for name in kinds}
    assert {name: failure.attempts for name, failure in failures.items()} == {
        "raise": 1,
        "shape": 1,
        "segfault": 2,
        "memory": 1,
        "nan": 1,
    }
    assert (failures["raise"].error, failures["raise"].message) == ("KeyError", "'a planted fault'")
    line = FAULTY.splitlines().index('        raise KeyError("a planted fault")') + 1
    assert failures["raise"].where == f"faulty.py:{line} in misbehave"
    assert "SIGSEGV" in failures["segfault"].message
    line = FAULTY.splitlines().index("        os.kill(os.getpid(), signal.SIGSEGV)") + 1
    assert failures["segfault"].where == f"faulty.py:{line} in misbehave"
    out = done.stdout
    assert "seed 0: FAILED: exception: KeyError: 'a planted fault'" in out
    assert "killed-once seed 0: the worker process was killed (SIGKILL)" in out
    assert "segfault seed 0: the worker process died of SIGSEGV; it is begun again" in out
    assert "failed: segfault seed 0: crashed: the worker process died of SIGSEGV (2 attempts)" in out
    assert "do not fit together" in out
    assert f"way out: {failures['nan'].message.splitlines()[1].strip()}" in out
    assert "train.accumulate=2" in out
    for name in kinds:
        log = Store(at / "results").trial(found[name].id).log
        assert out.count(str(log.relative_to(at))) == 1  # at once; at the end the way out
        assert failures[name].message.splitlines()[0] in log.read_text()
        assert f"| {name} | 0 | " in (at / "results/faulty/report.md").read_text()
    assert "in misbehave" in Store(at / "results").trial(found["raise"].id).log.read_text()
    assert "Segmentation fault" in Store(at / "results").trial(found["segfault"].id).log.read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_parent_that_dies_leaves_no_process_and_no_half_record(folder, how):
    """kill -9 amid a trial, whose process has started another; and a terminal that was closed."""
    at = folder("hang")
    parent = subprocess.Popen(**command(at, "-j", "2"), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        marker = at / "hang.marker"
        wait_for(marker.exists, "the start of the trial")
        wait_for(lambda: "baseline" in records(at), "the end of the other")
        family = [int(pid) for pid in marker.read_text().split()]
        family += [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
        parent.send_signal(how)
        code = parent.wait(PATIENCE_S)
        assert code == (-how if how == signal.SIGKILL else 130)
        wait_for(lambda: all(gone(pid) for pid in family), "the end of every process")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    assert {name: record.status for name, record in records(at).items()} == {"baseline": "done"}
    left = [path.name for path in (at / "results").rglob("record.json*")]
    assert left == ["record.json"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("shell", ["set -o pipefail; {} | head -1", "{} > /dev/full", "{} >&-"])
def test_a_run_goes_on_when_nobody_reads_it(folder, shell):
    at = folder("none")
    given = command(at, "-j", "1")
    line = " ".join(given.pop("args"))
    done = subprocess.run(["bash", "-c", shell.format(line)], capture_output=True, **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "## Results" in (at / "results/faulty/report.md").read_text()
    assert {record.status for record in records(at).values()} == {"done"}


@pytest.mark.slow
def test_a_time_limit_then_fail_fast_then_another_try(folder):
    at = folder("hang", "none")

    def run(*options):
        done = subprocess.run(**command(at, "-j", "1", *options), capture_output=True)
        return done.returncode, done.stdout

    code, out = run("--timeout", "10", "--fail-fast")
    found = records(at)
    assert {name: record.status for name, record in found.items()} == {"baseline": "done", "hang": "failed"}
    line = FAULTY.splitlines().index("        time.sleep(600)") + 1
    assert found["hang"].failure.where == f"faulty.py:{line} in misbehave"
    assert found["hang"].failure.message == (
        f"stopped after 10 s, its time limit (--timeout); it stood at faulty.py:{line} in misbehave"
    )
    assert f"way out: if it hangs at faulty.py:{line}, mend that; else raise --timeout" in out
    assert "1 were not started" in out
    assert code == 1
    wait_for(lambda: all(gone(int(pid)) for pid in (at / "hang.marker").read_text().split()), "the end")

    code, out = run()
    assert "--retry-failed tries them again" in out
    assert (code, records(at)["none"].status, records(at)["hang"].status) == (1, "done", "failed")

    code, out = run("--retry-failed")
    assert (code, records(at)["hang"].status) == (0, "done")
