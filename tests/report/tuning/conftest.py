"""A search of four settings over two seeds, as `ablate tune` leaves it beside its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ablate.report.tuning import Tuning, read_tuning
from ablate.store import Store

REDUCTION, RATE = "model.attention.args.reduction", "train.optimizer.lr"


def trial(
    number: int, state: str = "done", *, ratio: int = 8, rate: float = 0.01, value: float = 80.0, **more
):
    return {
        "number": number,
        "state": state,
        "choices": {REDUCTION: ratio, RATE: rate},
        "settings": {REDUCTION: ratio, RATE: rate},
        "values": {"accuracy": value, "macs": 10.0 * ratio} if state == "done" else {},
        "counts": {"macs": 10.0 * ratio},
        "validation_accuracy": {"1000": value, "1001": value},
        "trials": {"1000": f"{number:04x}aa", "1001": f"{number:04x}bb"},
        "curve": [[1, value - 1], [2, value]],
        "stopped": None,
        "why": None,
    } | more


def found(**more: Any) -> dict[str, Any]:
    search = {
        "start": "msa",
        "optuna_study": "s/msa/12345678",
        "asked": 5,
        "size": None,
        "epochs": 2,
        "dimensions": {
            REDUCTION: {"kind": "choice", "choices": [4, 8, 16]},
            RATE: {"kind": "range", "low": 0.001, "high": 0.1, "log": True},
        },
        "best": [2, 0],
        "importances": {"accuracy": {RATE: 0.75, REDUCTION: 0.25}},
        "trials": [
            trial(0),
            trial(1, "pruned", ratio=4, curve=[[1, 60.0]], stopped={"seed": 1000, "epoch": 1}),
            trial(2, ratio=16, rate=0.1, value=82.5),
            trial(3, "failed", ratio=4, rate=0.001, curve=[], why="non-finite: the loss is nan"),
        ],
    }
    return {
        "schema_version": 1,
        "study": "s",
        "baseline": "baseline",
        "storage": "sqlite:///x",
        "seeds": [1000, 1001],
        "reported_seeds": [0, 1],
        "objectives": {"accuracy": "maximize"},
        "constraints": [],
        "set": {"train.epochs": 2},
        "sampler": "tpe",
        "pruner": "median",
        "pruned": True,
        "searches": [search],
    } | more


@pytest.fixture
def content() -> Callable[..., dict[str, Any]]:
    """The file's content; keywords replace its fields."""
    return found


@pytest.fixture
def write() -> Callable[..., None]:
    """Lay content, or any text, into a results tree as what `ablate tune` found for a study."""

    def write(root, study: str, said: Any) -> None:
        path = Store(root).study(study).tuning
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")

    return write


@pytest.fixture
def read(tmp_path, write) -> Callable[[Any], Tuning]:
    def read(said: Any) -> Tuning:
        write(tmp_path, "s", said)
        return read_tuning(Store(tmp_path), "s")

    return read
