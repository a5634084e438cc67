"""kill −9 at any moment, and several processes on one search: no trial is lost and none is there twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from ablate.store import Store

TRIALS = 12
LINES = f"""space:
  train.optimizer.lr: {{low: 1.0e-4, high: 1.0, log: true}}
  model.attention.args.reduction: [2, 4, 8, 16]
trials: {TRIALS}
seeds: 2"""


def opened(url):
    storage = url
    if url.startswith("journal:"):
        storage = JournalStorage(JournalFileBackend(url.removeprefix("journal:")))
    [name] = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def assert_whole(url, root):
    """As many as asked for, numbered without a gap, each of them with its own records."""
    trials = opened(url).get_trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": TRIALS}
    store = Store(root)
    settings = Counter(str(sorted(trial.params.items())) for trial in trials)
    assert max(settings.values()) == 1
    for trial in trials:
        records = [store.read_trial(trial_id) for trial_id in trial.user_attrs["trials"].values()]
        accuracies = [record.metrics.validation_accuracy for record in records]
        assert trial.value == pytest.approx(sum(accuracies) / len(accuracies), abs=1e-9)
    assert len(list((root / "trials").glob("*/record.json"))) == 2 * TRIALS
    assert not list((root / "trials").glob("*.lock"))


def killed_at_random(command, environment, seconds, times, generator):
    """How often a process was killed before it had finished."""
    kills = 0
    for _ in range(times):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # From the first trial on: until then there is nothing to lose.
        for line in process.stdout:
            if "done" in line or line.startswith("["):
                break
        time.sleep(generator.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    return kills


def finish(command, environment):
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def url_of(kind, root):
    return f"sqlite:///{root}/tiny/tune/search.db" if kind == "sqlite" else f"journal:{root}/search.journal"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_killed_three_times_it_ends_with_what_was_asked_for(write, command, environment, root, kind):
    environment["SECONDS_A_TRIAL"] = "0.02"
    url = url_of(kind, root)
    line = command(write(LINES), root, "--storage", url)
    kills = killed_at_random(line, environment, 0.3, 3 if kind == "sqlite" else 1, random.Random(1))
    assert kills, "it ended before it could be killed: nothing was tried"
    finish(line, environment)
    assert_whole(url, root)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_killed_ten_times_it_ends_with_what_was_asked_for(write, command, environment, root, kind):
    environment["SECONDS_A_TRIAL"] = "0.05"
    url = url_of(kind, root)
    line = command(write(LINES), root, "--storage", url)
    assert killed_at_random(line, environment, 0.25, 10, random.Random(2)) >= 5
    finish(line, environment)
    assert_whole(url, root)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("journal", marks=pytest.mark.slow)])
def test_two_processes_share_one_search(write, command, environment, root, kind):
    environment["SECONDS_A_TRIAL"] = "0.3"
    url = url_of(kind, root)
    line = command(write(LINES), root, "--storage", url)
    both = [
        subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_whole(url, root)
    owners = Counter(trial.user_attrs["owner"]["pid"] for trial in opened(url).get_trials())
    assert set(owners) <= {process.pid for process in both}
    assert len(owners) == 2, "one of them had nothing to do"
