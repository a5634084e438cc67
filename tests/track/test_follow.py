"""Trials are followed through their files, each change once, whatever becomes of the tracker."""

from __future__ import annotations

import json
import threading
import time

import pytest

from ablate.errors import StoreError
from ablate.track import Tracking, track_study
from ablate.track.channel import Channel
from ablate.track.follow import Follower
from ablate.track.snapshot import TrackedTrial


class Kept:
    """A tracker that keeps what it is given, and fails or hangs as it is told."""

    name = "tensorboard"
    shown_by = "look here"

    def __init__(self):
        self.given, self.marks, self.latencies = [], {}, {}
        self.opened = self.closed = 0
        self.fault: Exception | None = None
        self.bad: set[str] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def open(self):
        self.opened += 1
        if self.fault is not None:
            raise self.fault

    def is_settled(self, trial, mark):
        return self.marks.get(trial.id) == mark

    def write(self, snapshot):
        self.go_on.wait(30)
        if self.fault is not None or snapshot.trial.id in self.bad:
            raise self.fault or ValueError("not this one")
        epochs = max(snapshot.curves.get("epoch/train_loss", {0: None}))
        self.given.append((str(snapshot.trial), snapshot.state, epochs))
        self.latencies[snapshot.trial.id] = snapshot.costs.get("cost/latency_ms")
        if snapshot.ended:
            self.marks[snapshot.trial.id] = snapshot.mark

    def close(self):
        self.closed += 1


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def channel(tree, kept):
    channel = Channel(tree.store, "tiny", kept)
    yield channel
    channel.close()


def new(kept):
    given, kept.given = kept.given, []
    return given


def test_every_change_of_a_trial_is_written_once(tree, kept, channel):
    trial, other = tree.of("se", 0), tree.of("baseline", 1)
    assert channel.go_over().written == 0
    with tree.hold(trial):
        tree.train(trial, 0)
        channel.go_over()
        tree.train(trial, 2)
        channel.go_over()
        assert channel.go_over().written == 0
        assert new(kept) == [("se seed 0", "running", 0), ("se seed 0", "running", 2)]
        tree.train(other, 4)
        tree.end(other)
        assert channel.go_over().running == 1
        assert new(kept) == [("baseline seed 1", "done", 4)]
    channel.go_over()
    assert new(kept) == [("se seed 0", "stopped", 2)]
    tree.train(trial, 4)
    tree.end(trial)
    channel.go_over()
    channel.go_over(thoroughly=True)
    assert new(kept) == [("se seed 0", "done", 4)]
    tree.measure(trial, 1.0)
    channel.go_over()
    assert new(kept) == []
    channel.go_over(thoroughly=True)
    assert new(kept) == [("se seed 0", "done", 4)]


def test_what_another_process_wrote_is_not_written_again(tree, kept, channel):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial)
    channel.go_over()
    channel.close()
    again = Channel(tree.store, "tiny", kept)
    assert again.go_over(thoroughly=True).written == 0
    assert again.settled == {trial.id}
    again.close()


def test_a_finished_trial_that_is_trained_again_stays_until_it_has_ended(tree, kept, channel):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial)
    channel.go_over()
    new(kept)
    with tree.hold(trial):
        for epochs in (1, 2):
            tree.train(trial, epochs, paths=tree.store.trial_again(trial.id))
            channel.go_over()
    assert new(kept) == []
    tree.end(trial, accuracy=12.0)
    channel.go_over()
    assert new(kept) == [("se seed 0", "done", 2)]


def test_a_damaged_trial_is_one_fault_and_the_others_go_on(tree, kept, channel):
    trial, other = tree.of("baseline", 0), tree.of("se", 0)
    for one in (trial, other):
        tree.train(one, 2)
        tree.end(one)
    whole = tree.store.trial(trial.id).epochs.read_text()
    tree.store.trial(trial.id).epochs.write_text("epoch,train_loss\n1,torn")
    assert "epochs.csv:2 is torn" in channel.go_over().fault
    assert new(kept) == [("se seed 0", "done", 2)]
    assert channel.go_over().fault == ""  # nothing has changed
    tree.store.trial(trial.id).epochs.write_text(whole)
    channel.go_over()
    assert new(kept) == [("baseline seed 0", "done", 2)]


def test_a_trial_that_the_tracker_refuses_does_not_stop_the_others(tree, kept, channel):
    for variant, seed in (("baseline", 0), ("se", 0)):
        tree.train(tree.of(variant, seed), 2)
    kept.bad = {tree.of("baseline", 0).id}
    assert channel.go_over().fault == "ValueError: not this one"
    assert new(kept) == [("se seed 0", "stopped", 2)]
    kept.bad = set()
    channel.go_over()
    assert new(kept) == [("baseline seed 0", "stopped", 2)]


def test_one_writes_at_a_time_and_the_next_takes_over(tree, kept, channel):
    tree.train(tree.of(), 2)
    beside = Kept()
    second = Channel(tree.store, "tiny", beside)
    assert channel.go_over().written == 1
    assert second.go_over().holder is not None
    with pytest.raises(StoreError, match="tensorboard of tiny is written by a run that goes on"):
        track_study(tree.store, "tiny", [Kept()])
    assert beside.given == []
    channel.close()
    assert second.go_over().written == 1
    second.close()


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_tracker_that_is_away_is_one_note_and_gets_everything_when_it_is_back(tree, kept):
    notes = []
    tracking = Tracking(tree.store, "tiny", [kept], notes.append, interval_s=0.01)
    kept.fault = ConnectionError("refused\nand much more")
    tracking.start()
    tree.train(tree.of("se", 0), 2)
    until(lambda: kept.opened > 3)
    tree.train(tree.of("baseline", 0), 1)
    kept.fault = None
    tracking.finish()
    assert sorted(kept.given) == [("baseline seed 0", "stopped", 1), ("se seed 0", "stopped", 2)]
    assert notes == [
        "tensorboard: look here",
        "note: tracking with tensorboard failed: ConnectionError: refused; the trials go on, and what is "
        "missing there is written when it answers again, or by `ablate track tiny --to tensorboard`",
    ]
    assert kept.closed
    assert not tree.store.study("tiny").tracking_lock("tensorboard").exists()


def test_a_tracker_that_hangs_holds_nobody_up(tree, kept):
    notes = []
    follower = Follower(Channel(tree.store, "tiny", kept), notes.append, interval_s=0.01)
    tree.train(tree.of(), 2)
    kept.go_on.clear()
    follower.start()
    until(lambda: kept.opened == 1)
    follower.finish(patience_s=0.01)
    assert "failed: did not answer for 0 s" in notes[-1]
    kept.go_on.set()
    until(lambda: kept.closed)


def test_nothing_is_written_while_costs_are_measured(tree, kept):
    tracking = Tracking(tree.store, "tiny", [kept], lambda _: None, interval_s=0.01)
    tracking.start()
    until(lambda: kept.opened == 1)
    tracking.pause()
    tree.train(tree.of(), 2)
    tree.end(tree.of())
    time.sleep(0.1)
    assert kept.given == []
    tree.measure(tree.of(), 1.0)
    tracking.finish()
    tracking.finish()
    assert kept.given == [("se seed 0", "done", 2)]


def test_a_plan_that_grows_is_read_again(tree, kept, channel):
    channel.go_over()
    plan = tree.store.read_plan("tiny")
    more = plan.variants[1].model_copy(update={"trials": {**plan.variants[1].trials, 2: "b2" * 8}})
    tree.store.write_plan(plan.model_copy(update={"variants": (plan.variants[0], more)}))
    tree.train(tree.of("se", 2), 1)
    channel.go_over()
    assert new(kept) == [("se seed 2", "stopped", 1)]


def test_trials_of_a_search_are_written_under_its_names(tree, kept, channel):
    trial_id = "cd" * 8
    tuning = {"searches": [{"start": "se", "trials": [{"number": 7, "trials": {"1000": trial_id}}]}]}
    tree.store.study("tiny").tune.mkdir()
    tree.store.study("tiny").tuning.write_text(json.dumps(tuning))
    trial = TrackedTrial("tiny", "tune se 7", 1000, trial_id, "")
    tree.train(trial, 3)
    tree.end(trial)
    channel.go_over()
    assert new(kept) == [("tune se 7 seed 1000", "done", 3)]
    tree.store.study("tiny").tuning.write_text('{"searches": [{}]}')
    planned = tree.of()
    tree.train(planned, 1)
    assert "tuning.json is torn or was edited by hand (KeyError('trials'))" in channel.go_over().fault
    assert new(kept) == [("se seed 0", "stopped", 1)]


def test_costs_are_those_of_the_machine_that_trained(tree, kept, channel):
    """Two machines share the tree, and a cost record each."""
    here, there = tree.of("se", 0), tree.of("se", 1)
    tree.measure(here, 1.0)
    [cost] = tree.store.read_costs(here.cost_id)
    tree.store.write_cost(cost.model_copy(update={"machine": "n", "latency_ms": 2.0}))
    for trial, machine in ((here, "m"), (there, "n")):
        tree.train(trial, 1)
        tree.end(trial, machine=machine)
    channel.go_over()
    assert kept.latencies == {here.id: 1.0, there.id: 2.0}


def test_a_finished_study_is_written_afterwards(tree, kept):
    tree.train(tree.of(), 2)
    tree.end(tree.of())
    said = []
    assert track_study(tree.store, "tiny", [kept], say=said.append)
    assert track_study(tree.store, "tiny", [kept], say=said.append)
    kept.bad = {tree.of("se", 1).id}
    tree.train(tree.of("se", 1), 1)
    assert not track_study(tree.store, "tiny", [kept], say=said.append)
    assert said == [
        "tensorboard: 1 written, 0 there already; look here",
        "tensorboard: 0 written, 1 there already; look here",
        "tensorboard: 0 written, 1 there already; look here\n    failed: ValueError: not this one",
    ]


def test_a_study_is_followed_until_nobody_trains_it(tree, kept):
    trial, waits = tree.of(), []
    lock = tree.hold(trial)

    def sleep(_):
        waits.append(len(waits))
        tree.train(trial, len(waits))
        if len(waits) == 3:
            tree.end(trial)
            lock.release()

    assert track_study(tree.store, "tiny", [kept], follow=True, sleep=sleep)
    assert kept.given[:3] == [
        ("se seed 0", "running", 1),
        ("se seed 0", "running", 2),
        ("se seed 0", "done", 3),
    ]
    assert len(waits) == 4
