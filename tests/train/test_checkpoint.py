"""A state that went to disk and back is the same to the last bit; a damaged file is never gone on from."""

from __future__ import annotations

import errno
import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ablate.train import Recipe, checkpoint, fit
from ablate.train.checkpoint import KEPT, Checkpoints, TimedSaver
from ablate.train.recipe import Stage

HERE = {"trial": "0123", "torch": torch.__version__, "device": "cpu"}


def same(one: Any, other: Any) -> bool:
    """Equal in type, value, dtype and layout, all the way down."""
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype
            and one.stride() == other.stride()
            and torch.equal(one.cpu(), other.cpu())
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and bool(one == other)


def state_of(step: int = 0) -> dict[str, Any]:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 3, 5, 5)).square().mean().backward()
    optimizer.step()
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),  # has whole numbers as keys
        "history": [[1, 0.1, float("inf"), -0.0, float("nan")], [2, 1e-323, 1 / 3, 2**60, 0.5]],
        "epoch": step,
        "names": ("a", None, True),
        "generator": torch.get_rng_state(),
        "half": torch.tensor([1.5, -2.25]).bfloat16(),
        "empty": {},
        "scalar": torch.tensor(7),
    }


def test_a_state_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    before = state_of()
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save(before, epoch=3, step=17)
    assert same(Checkpoints(tmp_path, HERE).newest(), before)
    assert before["network"]["0.weight"].stride() != before["network"]["0.weight"].contiguous().stride()


def test_the_newest_counts_and_old_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    for epoch, step in ((1, 0), (2, 0), (2, 999_999), (10, 0)):
        checkpoints.save({"at": [epoch, step]}, epoch=epoch, step=step)
    assert checkpoints.newest() == {"at": [10, 0]}
    assert len(checkpoints.files()) == KEPT


@pytest.mark.parametrize("made", ["elsewhere", "torn"])
def test_files_that_are_no_use_do_not_push_out_those_that_are(tmp_path: Path, made: str) -> None:
    """They may stand for a later epoch: another version of a library came further before it was replaced."""
    elsewhere = Checkpoints(tmp_path, {**HERE, "torch": "1.0"})
    for epoch in (49, 50):
        path = elsewhere.save({"at": epoch}, epoch=epoch)
        if made == "torn":
            path.write_bytes(b"")
    (tmp_path / ".checkpoint-000051-000000000.safetensors.1").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path, HERE)
    assert checkpoints.newest() is None
    assert len(checkpoints.passed_over) == 2
    for epoch in (1, 2, 3):
        checkpoints.save({"at": epoch}, epoch=epoch)
    assert Checkpoints(tmp_path, HERE).newest() == {"at": 3}
    assert sorted(tmp_path.iterdir()) == [
        tmp_path / f"checkpoint-00000{n}-000000000.safetensors" for n in (2, 3)
    ]


def test_after_a_torn_one_the_one_before_it_stays_until_there_are_two_good_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    for epoch in (1, 2):
        path = checkpoints.save({"at": epoch}, epoch=epoch)
    path.write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, HERE)
    assert checkpoints.newest() == {"at": 1}
    checkpoints.save({"at": 2}, epoch=2)
    path.write_bytes(b"")
    assert Checkpoints(tmp_path, HERE).newest() == {"at": 1}


def test_tensors_of_one_storage_and_of_no_order_come_back(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    before = {
        "a": whole,
        "b": whole[1:],
        "c": whole.t(),
        "d": whole,
        "e": torch.empty(0),
        "f": torch.empty(0),
    }
    Checkpoints(tmp_path, HERE).save(before, epoch=1)
    found = Checkpoints(tmp_path, HERE).newest()
    assert found is not None
    assert all(torch.equal(found[name], before[name]) for name in before)


@pytest.mark.parametrize("damage", ["cut short", "empty", "a flipped bit", "a pickle", "zeros at the end"])
def test_a_damaged_file_is_passed_over_and_said(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save(state_of(1), epoch=1)
    newest = checkpoints.save(state_of(2), epoch=2)
    content = bytearray(newest.read_bytes())
    if damage == "a flipped bit":
        content[-3] ^= 4
    elif damage == "zeros at the end":
        content[-64:] = bytes(64)
    damaged = {"cut short": content[:-100], "empty": b"", "a pickle": pickle.dumps({"at": 2})}
    newest.write_bytes(damaged.get(damage, content))
    found = checkpoints.newest()
    assert found is not None
    assert found["epoch"] == 1
    assert len(checkpoints.passed_over) == 1
    assert checkpoints.passed_over[0].startswith(f"{newest.name} was passed over: ")


def test_a_state_made_under_other_conditions_is_not_gone_on_from(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {**HERE, "torch": "1.0"}).save({"at": 1}, epoch=1)
    checkpoints = Checkpoints(tmp_path, HERE)
    assert checkpoints.newest() is None
    assert f"torch 1.0 (now {torch.__version__})" in checkpoints.passed_over[0]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save({"at": 1}, epoch=1)

    def no_space(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "_flush", no_space)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save({"at": 2}, epoch=2)
    assert checkpoints.newest() == {"at": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not <object"):
        Checkpoints(tmp_path, HERE).save({"at": object()}, epoch=1)
    assert list(tmp_path.iterdir()) == []


# A fit that is killed


class Killed(Exception):
    pass


class KillAfter:
    """Saves after every step and every epoch, and ends the fit after so many of these."""

    def __init__(self, checkpoints: Checkpoints, saves: int) -> None:
        self.saver = TimedSaver(checkpoints, share=math.inf, every_s=0)
        self.left = saves

    def due(self, *, epoch_ended: bool) -> bool:
        return self.saver.due(epoch_ended=epoch_ended)

    def save(self, state: Any) -> None:
        self.saver.save(state)
        self.left -= 1
        if self.left == 0:
            raise Killed


def network_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)
    )


RECIPES = {
    "adam": Recipe(epochs=3, batch_size=8, lr=0.01, schedule="cosine", channels_last=True),
    "accumulated": Recipe(epochs=2, batch_size=8, optimizer="sgd", lr=0.1, accumulate=2),
    "stages": Recipe(
        epochs=99,
        batch_size=8,
        stages=(Stage(epochs=1, train=("5",)), Stage(epochs=2, optimizer="sgd", schedule="plateau")),
    ),
    "steps": Recipe(epochs=99, steps=7, batch_size=8),
    "fp16": Recipe(epochs=2, batch_size=8, optimizer="sgd", lr=0.1, precision="fp16", clip_norm=0.5),
    "recomputed": Recipe(epochs=2, batch_size=8, lr=0.01, gradient_checkpointing=True),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_fit_killed_after_any_step_ends_as_one_that_was_not(
    tmp_path: Path, keeper: Any, batches_of: Any, clusters: Any, name: str
) -> None:
    train, validation = batches_of(*clusters(24), 8, seed=5), batches_of(*clusters(12, seed=1), 8)
    recipe = RECIPES[name]

    def run(network: nn.Module, **how: Any) -> Any:
        return fit(network, train, validation, recipe, device="cpu", dropout_seed=9, **how)

    whole, log = network_of(1), keeper()
    run(whole, log=log)
    saves = 0
    while True:
        saves += 1
        folder = tmp_path / str(saves)
        folder.mkdir()
        network, checkpoints = network_of(1), Checkpoints(folder, HERE)
        try:
            run(network, saver=KillAfter(checkpoints, saves))
        except Killed:
            found = checkpoints.newest()
            assert found is not None
        else:
            break
        second, rest = network_of(77), keeper()
        end = run(second, log=rest, start=found["fit"])
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), second.buffers(), strict=True))
        assert end.state.steps == log.steps
    assert saves - 1 == len(log.steps) - 1  # an epoch's end is its last step's save


def test_saving_takes_no_more_than_its_share_of_the_time(tmp_path: Path) -> None:
    now, cost = 0.0, 0.5

    class Slow(Checkpoints):
        def save(self, state: Any, *, epoch: int, step: int = 0) -> Path:
            nonlocal now
            now += cost
            return tmp_path

    saver = TimedSaver(Slow(tmp_path, HERE), share=0.02, every_s=60, clock=lambda: now)
    state = SimpleNamespace(partial=None, epoch=1, state_dict=dict)
    saved_at = []
    while now < 1000:
        now += 1
        epoch_ended = now % 10 == 0
        if saver.due(epoch_ended=epoch_ended):
            saved_at.append((now, epoch_ended))
            saver.save(state)
    assert saved_at[0] == (10, True)  # the first epoch's end
    assert len(saved_at) * cost <= 0.02 * 1000 + 2 * cost
    assert len(saved_at) >= 15


def test_a_disk_that_takes_no_checkpoint_is_said_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    saver = TimedSaver(Checkpoints(tmp_path / "gone", HERE), on_fault=said.append)
    saver.save(SimpleNamespace(partial=None, epoch=4, state_dict=dict))
    assert said[0].startswith("no checkpoint after epoch 4: ")


def test_a_state_that_no_checkpoint_can_hold_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    saver = TimedSaver(Checkpoints(tmp_path, HERE), share=math.inf, on_fault=said.append)
    state = SimpleNamespace(partial=None, epoch=4, state_dict=lambda: {"0._extra_state": object()})
    assert saver.due(epoch_ended=True)
    saver.save(state)
    assert not saver.due(epoch_ended=True)
    assert len(said) == 1
    assert said[0].endswith("stopped, the trial would begin again")
    assert list(tmp_path.iterdir()) == []
