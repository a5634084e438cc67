"""Three processes, one of them killed, on one search in a real PostgreSQL that the test starts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from ablate.store import Store

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
TRIALS = 12
LINES = f"""space:
  train.optimizer.lr: {{low: 1.0e-4, high: 1.0, log: true}}
  model.attention.args.reduction: [2, 4, 8, 16]
trials: {TRIALS}
seeds: 2"""


@pytest.fixture
def server():
    """URL of a cluster of its own, which refuses to run as root: then it belongs to `postgres`."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.fail("no PostgreSQL is installed: `make test-postgres` does it")
    folder = Path(tempfile.mkdtemp(prefix="ablate-pg-", dir="/tmp"))
    as_user = []
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    run = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run([*as_user, programs[-1] / "initdb", "-D", data, "-U", "ablate", "-A", "trust"], **run)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*as_user, programs[-1] / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], **run)
    yield f"postgresql+psycopg://ablate@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder, ignore_errors=True)


def test_processes_share_a_search_and_one_that_is_killed_loses_nothing(
    server, write, command, environment, root
):
    environment["SECONDS_A_TRIAL"] = "0.3"
    line = command(write(LINES), root, "--storage", server)
    every = [
        subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    lines = []
    for said in every[0].stdout:
        lines.append(said)
        if said.startswith("["):
            break
    else:
        pytest.fail(f"the first process ended without a trial: {''.join(lines)}")
    time.sleep(0.2)
    every[0].send_signal(signal.SIGKILL)
    outputs = [process.communicate(timeout=300)[0] for process in every]
    assert [process.returncode for process in every] == [-signal.SIGKILL, 0, 0], outputs
    [name] = optuna.get_all_study_names(server)
    trials = optuna.load_study(study_name=name, storage=server).get_trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": TRIALS}
    store = Store(root)
    for trial in trials:
        records = [store.read_trial(trial_id) for trial_id in trial.user_attrs["trials"].values()]
        assert trial.value == pytest.approx(
            sum(record.metrics.validation_accuracy for record in records) / 2, abs=1e-9
        )
    assert len(list((root / "trials").glob("*/record.json"))) == 2 * TRIALS
