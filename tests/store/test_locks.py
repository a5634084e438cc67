"""One holder at a time, with real processes; a dead one gives way at once, a silent one after a while."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.errors import StoreError
from ablate.store import STALE_AFTER_S, Holder, Lock, LockLost, Store, Watch, locks
from ablate.store.processes import start_of

TRIAL = "0123456789abcdef"
HOLD = """
import sys, time
from ablate.store import Holder, Store
taken = Store(sys.argv[1]).take_trial(sys.argv[2])
print("held by another" if isinstance(taken, Holder) else "held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def hold(store):
    """Start a process that takes the lock, and wait until it has said whether it got it."""
    started = []

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(store.root), TRIAL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lock_of_another_machine(store: Store, token: str = "aa11") -> Path:
    path = store.trial_lock(TRIAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {"host": "far", "pid": 1, "run_pid": 1, "start": "5", "machine": "boot", "token": token}
    path.write_text(json.dumps(holder))
    return path


def taken(store: Store) -> Lock:
    lock = store.take_trial(TRIAL)
    assert isinstance(lock, Lock), f"held by {lock}"
    return lock


def test_what_one_holds_another_does_not_get(store, hold):
    process, said = hold()
    assert said == "held"
    holder = store.take_trial(TRIAL)
    assert isinstance(holder, Holder)
    assert (holder.host, holder.pid) == (platform.node(), process.pid)
    assert str(holder) == f"{platform.node()}, process {process.pid}"
    assert store.holder(TRIAL) == holder
    assert hold()[1] == "held by another"


def test_two_threads_of_one_process_are_two_holders(store):
    with taken(store) as lock:
        found = []
        thread = threading.Thread(target=lambda: found.append(store.take_trial(TRIAL)))
        thread.start()
        thread.join()
        assert found == [lock.holder]


def test_a_released_lock_leaves_nothing(store):
    taken(store).release()
    assert list((store.root / "trials").iterdir()) == []
    taken(store).release()


def test_a_killed_holder_gives_way_at_once(store, hold):
    process, _ = hold()
    process.kill()
    process.wait()
    assert store.trial_lock(TRIAL).exists()
    assert store.holder(TRIAL) is None
    with taken(store) as lock:
        assert store.holder(TRIAL) == lock.holder
    assert list((store.root / "trials").iterdir()) == []


def test_a_holder_that_nobody_buried_is_dead(store, hold):
    """A zombie: killed, while its parent has not asked for its exit code."""
    process, _ = hold()
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while store.holder(TRIAL) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    taken(store).release()


def test_a_process_that_got_the_number_of_the_holder_is_not_the_holder(store, hold):
    process, _ = hold()
    path = store.trial_lock(TRIAL)
    said = json.loads(path.read_text())
    assert start_of(process.pid) == said["start"]
    path.write_text(json.dumps({**said, "start": str(float(said["start"]) - 1)}))
    assert store.holder(TRIAL) is None
    taken(store).release()


def test_a_lock_of_this_process_that_it_does_not_know_of_is_from_an_earlier_one(store):
    """After a reboot of a container the same numbers come again."""
    lock = taken(store)
    content = lock.path.read_text()
    lock.release()
    lock.path.write_text(content)
    taken(store).release()


def test_a_stopped_holder_of_this_machine_is_alive(store, hold):
    process, _ = hold()
    os.kill(process.pid, signal.SIGSTOP)
    clock = Steps()
    watch = Watch(clock=clock)
    assert not any(store.free(TRIAL, watch) for _ in clock.looks(STALE_AFTER_S / 2))
    assert isinstance(store.take_trial(TRIAL), Holder)


# Locks of another machine


class Steps:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def looks(self, seconds: float, *, every: float = 5.0):
        for _ in range(round(seconds / every) + 1):
            yield self.now
            self.now += every


def test_a_lock_that_stands_still_is_given_up_after_the_stated_time(store):
    lock_of_another_machine(store)
    assert isinstance(store.take_trial(TRIAL), Holder)
    clock = Steps()
    watch = Watch(clock=clock)
    answers = {now - 1000.0: store.free(TRIAL, watch) for now in clock.looks(STALE_AFTER_S + 10)}
    assert {after for after, free in answers.items() if free} == {STALE_AFTER_S + 5 * i for i in range(3)}
    assert list((store.root / "trials").iterdir()) == []


def test_one_that_is_touched_is_never_given_up_whatever_its_clock_says(store):
    path = lock_of_another_machine(store)
    clock = Steps()
    watch = Watch(clock=clock)
    for i, _ in enumerate(clock.looks(4 * STALE_AFTER_S)):
        if i % 4 == 0:  # back and forth over decades: only that it changes counts
            os.utime(path, (86400.0 * (1 + i % 8), 86400.0 * 365 * 60 * (i % 8)))
        assert not store.free(TRIAL, watch)


def test_who_did_not_look_saw_nothing_stand_still(store):
    """A watcher that was stopped for an hour, or hung on the server on which its holder hung as well."""
    path = lock_of_another_machine(store)
    clock = Steps()
    watch = Watch(clock=clock)
    assert not store.free(TRIAL, watch)
    clock.now += 3600
    assert not store.free(TRIAL, watch)
    os.utime(path, (1, 1))
    assert not store.free(TRIAL, watch)


def test_a_lock_that_came_back_to_life_is_not_removed(store):
    """Between the last look and the removal."""
    path = lock_of_another_machine(store)
    seen = locks.look(path)
    os.utime(path, (1, 1))
    assert not locks.remove(path, seen)
    assert path.exists()


def test_who_judged_first_does_not_remove_the_lock_of_who_judged_second(store):
    path = lock_of_another_machine(store)
    seen = locks.look(path)
    assert locks.remove(path, seen)
    with taken(store) as lock:
        assert not locks.remove(path, seen)
        assert locks.look(path).holder == lock.holder


def test_a_machine_lost_while_it_removed_a_lock_blocks_nobody_for_ever(store):
    path = lock_of_another_machine(store)
    lock_of_another_machine(store, "bb22").rename(path.with_name(f"{path.name}.aa11"))
    lock_of_another_machine(store)
    clock = Steps()
    watch = Watch(clock=clock)
    assert any(store.free(TRIAL, watch) for _ in clock.looks(3 * STALE_AFTER_S))
    taken(store).release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "../../x"}', "[" * 100_000])
def test_a_lock_that_says_nothing_is_somebodys(store, content):
    path = lock_of_another_machine(store)
    path.write_text(content)
    holder = store.take_trial(TRIAL)
    assert isinstance(holder, Holder)
    assert holder.host == "unknown"
    clock = Steps()
    watch = Watch(clock=clock)
    assert any(store.free(TRIAL, watch) for _ in clock.looks(STALE_AFTER_S))


# The holder's side


def beating(path: Path, seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_held_lock_is_touched(store):
    path = store.trial_lock(TRIAL)
    own = locks._own()
    path.parent.mkdir(parents=True)
    assert locks._create(path, own)
    os.utime(path, (1, 1))
    with Lock(path, own, heartbeat_s=0.02):
        assert beating(path, 20, lambda: path.stat().st_mtime > 1e9)


def test_a_holder_whose_lock_went_to_another_notices_and_leaves_that_one_alone(store):
    lock = taken(store)
    lock.check_now()
    lock_of_another_machine(store)
    lock.check()  # not before it looks
    with pytest.raises(LockLost, match="taken over by another process"):
        lock.check_now()
    with pytest.raises(LockLost):
        lock.check()
    lock.release()
    assert locks.look(store.trial_lock(TRIAL)).holder.host == "far"


def test_the_heartbeat_notices_it_too(store):
    path = store.trial_lock(TRIAL)
    own = locks._own()
    path.parent.mkdir(parents=True)
    locks._create(path, own)
    with Lock(path, own, heartbeat_s=0.02) as lock:
        lock_of_another_machine(store)
        os.utime(path, (1, 1))

        def lost() -> bool:
            try:
                lock.check()
            except LockLost:
                return True
            return False

        assert beating(path, 20, lost)
    assert path.stat().st_mtime == 1


# File systems


def test_without_hard_links_the_lock_is_as_exclusive(store, monkeypatch, hold):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with taken(store) as lock:
        assert hold()[1] == "held by another"
        assert isinstance(store.take_trial(TRIAL), Holder)
        assert store.holder(TRIAL) == lock.holder


def test_an_nfs_server_that_links_twice_and_complains_has_linked(store, monkeypatch):
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    taken(store).release()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        Store(tmp_path / "results").take_trial(TRIAL)


# All at once

CONTEND = """
import os, random, signal, sys, time
from pathlib import Path
from ablate.store import Lock, Store
from ablate.store.processes import start_of
root, name, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(seed)
store, inside, log = Store(root), Path(root) / "inside", Path(root) / f"log-{os.getpid()}"
ends = time.monotonic() + 60
took = 0
while took < 12 and time.monotonic() < ends:
    lock = store.take_trial(name)
    if not isinstance(lock, Lock):
        time.sleep(random.random() * 0.005)
        continue
    before = inside.read_text() if inside.exists() else ""
    if before and start_of(int(before)) is not None:
        log.write_text(f"{os.getpid()} entered while {before} was inside")
        sys.exit(3)
    inside.write_text(str(os.getpid()))
    time.sleep(random.random() * 0.005)
    if random.random() < 0.1:
        os.kill(os.getpid(), signal.SIGKILL)
    if inside.read_text() != str(os.getpid()):
        sys.exit(4)
    inside.unlink()
    lock.release()
    took += 1
"""


def test_of_many_that_contend_and_die_one_at_a_time_is_inside(store):
    store.root.mkdir()
    running = [
        subprocess.Popen([sys.executable, "-c", CONTEND, str(store.root), TRIAL, str(seed)])
        for seed in range(6)
    ]
    codes = []
    for seed, process in enumerate(running):
        codes.append(process.wait())
        if codes[-1] == -signal.SIGKILL:  # the next in its place; what it holds is taken over
            again = [sys.executable, "-c", CONTEND, str(store.root), TRIAL, str(100 + seed)]
            codes.append(subprocess.run(again).returncode)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert -signal.SIGKILL in codes
    taken(store).release()
    assert sorted(path.name for path in (store.root / "trials").glob("*.lock*")) == []
