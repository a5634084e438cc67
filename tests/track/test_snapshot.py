"""What is read of a trial that waits, trains, ended, or is trained again."""

from __future__ import annotations

import pytest

from ablate.store import Damaged
from ablate.track.snapshot import signature, take


def losses(snapshot):
    return {step: point.value for step, point in snapshot.curves.get("epoch/train_loss", {}).items()}


def test_a_trial_that_has_not_begun_is_nothing(tree):
    assert take(tree.store, tree.of(), None, held=False) is None


def test_a_trial_that_trains_shows_whole_lines_only(tree):
    trial = tree.of()
    tree.train(trial, 2)
    for path in (tree.store.trial(trial.id).epochs, tree.store.trial(trial.id).steps):
        with path.open("a") as file:
            file.write("3,0.1")  # of 3,0.1875,…: written so far
    found = tree.taken(trial, held=True)
    assert (found.state, losses(found)) == ("running", {1: 1.0, 2: 0.5})
    assert list(found.curves["step/loss"]) == [1, 2, 3, 4]
    assert found.parameters["model.attention.at"] == '["block2", "block3"]'
    assert found.parameters["train.lr"] == '{"attention.*": 0.1}'
    assert found.tags["ablate.record"] == f"trials/{trial.id}/record.json"
    assert (tree.store.root / found.tags["ablate.record"]) == tree.store.trial(trial.id).record
    assert tree.taken(trial).state == "stopped"


def test_a_trial_that_ended_has_finals_at_its_last_epoch_and_costs(tree):
    trial = tree.of()
    tree.train(trial, 3)
    tree.end(trial)
    before = tree.taken(trial)
    assert before.state == "done"
    finals = {name: points for name, points in before.curves.items() if name.startswith("final/")}
    assert all(set(points) == {3} for points in finals.values())
    values = {name: points[3].value for name, points in finals.items()}
    assert (values["final/accuracy"], values["final/best_epoch"], values["final/wall_s"]) == (85.3, 1, 185.3)
    assert "final/images_per_s" not in values  # this record has none
    assert not before.costs
    tree.measure(trial, 1.5)
    after = tree.taken(trial)
    assert after.costs == {
        "cost/param_count": 1234,
        "cost/attention_param_count": 34,
        "cost/macs": 5678,
        "cost/attention_macs": 0,
        "cost/latency_ms": 1.5,
    }
    assert after.mark != before.mark


def test_a_failed_trial_says_why(tree):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial, failed=True)
    found = tree.taken(trial)
    assert (found.state, losses(found)) == ("failed", {1: 1.0, 2: 0.5})
    assert found.tags["ablate.failure"] == "timeout: 60 s are over"
    assert not any(name.startswith("final/") for name in found.curves)


def test_a_failed_trial_that_is_tried_again_shows_the_new_attempt(tree):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial, failed=True)
    tree.train(trial, 1, paths=tree.store.trial_again(trial.id))
    found = tree.taken(trial, held=True)
    assert (found.state, losses(found)) == ("running", {1: 1.0})


def test_a_finished_trial_that_is_edited_is_not_shown(tree):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial)
    tree.train(trial, 3)
    with pytest.raises(Damaged, match="is not the file that record"):
        tree.taken(trial)


def test_the_signature_changes_with_every_file(tree):
    trial = tree.of()
    seen = [signature(tree.store, trial, held=True)]
    tree.train(trial, 1)
    seen.append(signature(tree.store, trial, held=True))
    tree.train(trial, 2)
    seen.append(signature(tree.store, trial, held=True))
    tree.train(trial, 1, paths=tree.store.trial_again(trial.id))
    seen.append(signature(tree.store, trial, held=True))
    tree.end(trial)
    seen += [signature(tree.store, trial, held=held) for held in (True, False)]
    assert len(set(seen)) == len(seen)
