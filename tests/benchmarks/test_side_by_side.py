"""Rounds, ratios, and training that halts."""

import sys
import threading
import time
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import side_by_side

    yield side_by_side
    sys.modules.pop("side_by_side", None)


def test_arms_take_turns_there_and_back(module):
    calls = []
    turns = module.take_turns({name: lambda name=name: calls.append(name) for name in "abc"}, 2)
    assert "".join(calls) == "abc" + "abccba" * 2
    assert {name: len(found) for name, found in turns.wall_s.items()} == {"a": 2, "b": 2, "c": 2}


def test_a_ratio_is_of_rounds_and_not_of_sums(module):
    """By hand: ratios 2, 4, 3; a slow round weighs no more than the others."""
    found = module.ratio({"a": [2.0, 400.0, 3.0], "b": [1.0, 100.0, 1.0]}, "a", "b")
    assert (found.median, found.low, found.high) == (3.0, 2.5, 3.5)
    assert f"{found:.1f}" == "3.0 (2.5–3.5)"


def test_training_halts_after_each_epoch_and_its_clock_with_it(module):
    seen, clocks = [], []

    def work(halt):
        for epoch in range(100):
            torch.backends.cudnn.allow_tf32 = False
            seen.append((epoch, threading.current_thread() is threading.main_thread()))
            halt()
            clocks.append(paced.clock())

    outside = torch.backends.cudnn.allow_tf32
    paced = module.Paced(work)
    paced()
    assert seen == [(0, False)]
    assert torch.backends.cudnn.allow_tf32 is outside
    began = time.monotonic()
    time.sleep(0.2)
    paced()
    paced()
    away = time.monotonic() - began
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert clocks[1] - clocks[0] < away, "halts do not count"
    paced.close()
    assert not paced._thread.is_alive()


def test_what_training_raises_is_raised_where_it_is_waited_for(module):
    def work(halt):
        raise ValueError("broken")

    paced = module.Paced(work)
    with pytest.raises(ValueError, match="broken"):
        paced()
    with pytest.raises(RuntimeError, match="no further epoch"):
        paced()


def test_made_up_images_differ_from_class_to_class(module):
    train, labels, test, test_labels = module.made_up_images("/any/folder/100")
    assert (train.shape, test.shape) == ((100, 32, 32, 3), (20, 32, 32, 3))
    assert labels.tolist() == list(range(10)) * 10 and test_labels.tolist() == list(range(10)) * 2
    means = [train[labels == label].mean((0, 3)) for label in range(10)]
    assert all(abs(one - other).max() > 50 for n, one in enumerate(means) for other in means[:n])
