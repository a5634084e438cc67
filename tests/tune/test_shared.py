"""kill −9 at any moment, and several processes on one search: no trial is lost and none is there twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter

import optuna
import psutil
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from ablate.store import Store

INLINE, WITH_WORKERS = 0, 2


def lines(trials):
    return f"""space:
  train.optimizer.lr: {{low: 1.0e-4, high: 1.0, log: true}}
  model.attention.args.reduction: [2, 4, 8, 16]
trials: {trials}
seeds: 2"""


def opened(url):
    storage = url
    if url.startswith("journal:"):
        storage = JournalStorage(JournalFileBackend(url.removeprefix("journal:")))
    [name] = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def records(root):
    """Of all trials that have ended: file -> content, which holds the moment at which its training began."""
    return {path: path.read_bytes() for path in (root / "trials").glob("*/record.json")}


def assert_whole(url, root, count):
    """As many as asked for, numbered without a gap, each of them with its own records."""
    trials = opened(url).get_trials()
    assert [trial.number for trial in trials] == list(range(count))
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": count}
    store = Store(root)
    settings = Counter(str(sorted(trial.params.items())) for trial in trials)
    assert max(settings.values()) == 1
    for trial in trials:
        found = [store.read_trial(trial_id) for trial_id in trial.user_attrs["trials"].values()]
        accuracies = [record.metrics.validation_accuracy for record in found]
        assert trial.value == pytest.approx(sum(accuracies) / len(accuracies), abs=1e-9)
    assert len(records(root)) == 2 * count
    assert not list((root / "trials").glob("*.lock"))


def started(command, environment):
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def killed_at_random(command, environment, root, seconds, times, generator):
    """How often a process was killed before it had finished, and the records that there were at each kill."""
    kills, seen = 0, {}
    for _ in range(times):
        process = started(command, environment)
        # From its first trial on: until then it had nothing to lose.
        for line in process.stdout:
            if line.startswith("["):
                break
        time.sleep(generator.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        seen.update({path: content for path, content in records(root).items() if path not in seen})
    return kills, seen


def finish(command, environment):
    done = started(command, environment)
    said, _ = done.communicate(timeout=240)
    assert done.returncode == 0, said
    return said


def url_of(kind, root):
    return f"sqlite:///{root}/tiny/tune/search.db" if kind == "sqlite" else f"journal:{root}/search.journal"


def kill_and_finish(command, environment, root, url, count, *, times, seconds, seed):
    """Returns how many kills there were. What had been trained at any of them is not trained again."""
    kills, seen = killed_at_random(command, environment, root, seconds, times, random.Random(seed))
    finish(command, environment)
    assert_whole(url, root, count)
    after = records(root)
    assert seen and {path: after.get(path) for path in seen} == seen
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_killed_a_few_times_it_ends_with_what_was_asked_for(write, command, environment, root, kind):
    environment["SECONDS_A_TRIAL"] = "0.02"
    url = url_of(kind, root)
    line = command(write(lines(12)), root, "--storage", url)
    times = 3 if kind == "sqlite" else 1
    assert kill_and_finish(line, environment, root, url, 12, times=times, seconds=0.3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize(("workers", "count"), [(INLINE, 12), (WITH_WORKERS, 24)])
def test_killed_ten_times_it_ends_with_what_was_asked_for(
    write, command, environment, root, kind, workers, count
):
    environment["SECONDS_A_TRIAL"] = "0.1" if workers else "0.05"
    url = url_of(kind, root)
    line = command(write(lines(count)), root, "--storage", url, workers=workers)
    kills = kill_and_finish(line, environment, root, url, count, times=10, seconds=0.25, seed=2)
    assert kills >= 5, "it ended before it could be killed: too little was tried"


def workers_of(process):
    """The processes of a search that train."""
    return [
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_workers_that_are_killed_lose_nothing(write, command, environment, root, kind):
    """One at a time, and not the same setting twice: that would be a failure with a cause."""
    environment["SECONDS_A_TRIAL"] = "0.1"
    url, generator = url_of(kind, root), random.Random(3)
    process = started(command(write(lines(24)), root, "--storage", url, workers=2), environment)
    said, kept, in_hand, quiet = [], {}, None, 0
    for line in process.stdout:
        said.append(line)
        if "it is begun again" in line:
            in_hand = line.partition(": ")[0]
        if not line.startswith("["):
            continue
        if in_hand is not None and in_hand not in line:
            continue
        in_hand, quiet = None, 4 if in_hand is not None else quiet + 1
        if quiet >= 4 and (living := workers_of(process)):
            time.sleep(generator.uniform(0, 0.2))
            generator.choice(living).kill()
            kept.update({path: content for path, content in records(root).items() if path not in kept})
            quiet = 0
    process.wait(timeout=60)
    text = "".join(said)
    assert process.returncode == 0, text
    assert text.count("it is begun again") >= 2, text
    assert_whole(url, root, 24)
    assert {path: content for path, content in records(root).items() if path in kept} == kept


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("sqlite", INLINE),
        pytest.param("journal", INLINE, marks=pytest.mark.slow),
        pytest.param("sqlite", WITH_WORKERS, marks=pytest.mark.slow),
        pytest.param("journal", WITH_WORKERS, marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_one_search(write, command, environment, root, kind, workers):
    count = 24 if workers else 12
    environment["SECONDS_A_TRIAL"] = "0.3"
    url = url_of(kind, root)
    line = command(write(lines(count)), root, "--storage", url, workers=workers)
    both = [started(line, environment) for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_whole(url, root, count)
    owners = Counter(trial.user_attrs["owner"]["pid"] for trial in opened(url).get_trials())
    assert set(owners) <= {process.pid for process in both}
    assert len(owners) == 2, "one of them had nothing to do"
