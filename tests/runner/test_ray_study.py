"""A study on two nodes of a Ray cluster, one of which is killed: the same results as on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ablate.runner import run_study
from ablate.runner.executors import ExecutorOptions
from ablate.store import Store

pytestmark = pytest.mark.ray
PATIENCE_S = 200  # how long a test waits for what must happen; none asserts how fast it does
PRETRAINING = (
    "variants:\n",
    "pretraining:\n  first: {model.attention: null, data.classes: [0, 1, 2]}\nvariants:\n"
    "  started: {model.weights: 'pretraining:first'}\n",
)
QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


@pytest.fixture
def head(request):
    """The first node of a cluster, which bears one trial at once, or as many as the test says."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": getattr(request, "param", 1),
            "include_dashboard": False,
            "_system_config": QUICK_TO_NOTICE,
        },
    )
    yield cluster
    cluster.shutdown()


@pytest.fixture
def run_here(make_study, tmp_path):
    """The study, and what the local executor finds."""

    def run(*settings, **options):
        study, root = make_study(*settings, **options), tmp_path / "local"
        assert run_study(study, output=root, device="cpu", jobs=2).exit_code == 0
        return study, root

    return run


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen in {PATIENCE_S} s")


def below(pid):
    return {process.pid for process in psutil.Process(pid).children(recursive=True)}


def stopped_after_a_checkpoint(folder, pids):
    """The id of a trial that one of these processes trains, and that has come so far as to leave one.

    Its process is stopped, so that it comes no further.
    """
    for lock in folder.glob("trials/*.lock"):
        try:
            holder = json.loads(lock.read_text())["pid"]
        except (OSError, ValueError):
            continue
        if holder not in pids or not list(lock.with_suffix("").glob("checkpoint-*")):
            continue
        os.kill(holder, signal.SIGSTOP)
        if not (lock.with_suffix("") / "record.json").exists():
            return lock.stem
        os.kill(holder, signal.SIGCONT)
    return None


def figures(root):
    """All that a study finds, and nothing of where and when."""
    store = Store(root)
    return {
        record.id: (
            record.status,
            record.seed,
            record.metrics.model_dump(),
            [
                {key: value for key, value in row.items() if key != "seconds" and not key.endswith("_s")}
                for row in store.read_epochs(record.id)
            ],
            {name: array.tolist() for name, array in (store.read_predictions(record.id) or {}).items()},
        )
        for record in store.trials()
    }


def tables(root):
    """The report, but for what it says of machine, time and workers."""
    content = json.loads((root / "tiny" / "report.json").read_text(encoding="utf-8"))
    said = {
        name: content[name] for name in ("study", "baseline", "metric", "claims", "effects", "incomplete")
    }
    said["variants"] = [
        {key: value for key, value in variant.items() if key not in ("hours_to_decide", "latency_ms")}
        for variant in content["variants"]
    ]
    return json.dumps(said, indent=1)  # as text: what one seed cannot say is no number, and equals nothing


def test_a_killed_node_costs_time_and_nothing_else(head, run_here, recording, tmp_path):
    (study, expected), root = run_here("train.epochs=6"), tmp_path / "ray"
    node = head.add_node(num_cpus=1)
    raylet = node.all_processes["raylet"][0].process
    lost = []

    def kill():
        lost.append(wait_for(lambda: stopped_after_a_checkpoint(root, below(raylet.pid)), "training there"))
        raylet.kill()
        raylet.wait()  # buried, as a system does it: what it started tells its death by that

    thread = threading.Thread(target=kill)
    thread.start()
    summary = run_study(
        study,
        output=root,
        device="cpu",
        executor="ray",
        executor_options=ExecutorOptions(ray_address=head.address),
        display=recording,
    )
    thread.join()
    head.remove_node(node, allow_graceful=False)
    assert (summary.exit_code, summary.trained, summary.failed) == (0, 6, 0)
    assert len(set(recording.told.finished)) == len(recording.told.finished) == 6  # each ended once
    assert figures(root) == figures(expected)
    assert tables(root) == tables(expected)
    assert Store(root).read_trial(lost[0]).resumed > 0  # from its checkpoint, and not from the beginning
    assert not list(root.glob(".seen-*")) and not list(root.glob("trials/*.lock"))


HIDDEN = 'mount -t tmpfs none "$1" && shift && exec "$@"'


@pytest.fixture
def apart(head, tmp_path):
    """A second node with a file system of its own where the results and the cache of images lie here."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("a node with a file system of its own needs the right to unshare it (root)")
    here = tmp_path / "here"
    here.mkdir()
    start = ["-c", "from ray.scripts.scripts import main; main()", "start", f"--address={head.address}"]
    environment = {**os.environ, "ABLATE_CACHE": str(here / "its-own-cache")}
    command = ["unshare", "-m", "sh", "-c", HIDDEN, "sh", str(here), sys.executable, *start, "--num-cpus=1"]
    with subprocess.Popen([*command, "--block"], env=environment, stdout=subprocess.DEVNULL) as node:
        import ray

        ray.init(head.address, log_to_driver=False)
        try:
            wait_for(lambda: sum(each["Alive"] for each in ray.nodes()) == 2, "the second node")
        finally:
            ray.shutdown()
        yield SimpleNamespace(here=here, pid=node.pid)
        node.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("head", [0], indirect=True)  # every trial goes to the other node
def test_a_node_that_does_not_see_the_results_gets_and_sends_what_is_needed(head, apart, run_here, recording):
    (study, expected), root = run_here("seeds=1", replace=PRETRAINING), apart.here / "results"
    summary = run_study(
        study,
        output=root,
        device="cpu",
        executor="ray",
        executor_options=ExecutorOptions(ray_address=head.address),
        display=recording,
    )
    assert (summary.exit_code, summary.trained) == (0, 5)
    assert figures(root) == figures(expected)
    assert tables(root) == tables(expected)
    for record in Store(root).trials():
        Store(root).check_files(record.id)
        names = {path.name for path in Store(root).trial(record.id).folder.iterdir()}
        assert names == {path.name for path in Store(expected).trial(record.id).folder.iterdir()}
    assert not list(root.glob("trials/*.lock"))
    # That node decoded no images: those that were decoded here are in its cache, which had none.
    cache = Path(f"/proc/{apart.pid}/root{apart.here}/its-own-cache")
    assert list(cache.glob("images/*/entry.json")) and not (cache / "index").exists()
    assert not (Path(f"/proc/{apart.pid}/root{root}")).exists()
