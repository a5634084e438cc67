"""The rows of a search are read from its own file, without Optuna, and say how the choice was made."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ablate.errors import StoreError
from ablate.report import tuning
from ablate.store import Store


def trial(number, state="done", *, ratio=8, rate=0.01, value=80.0, **more):
    return {
        "number": number,
        "state": state,
        "choices": {"model.attention.args.reduction": ratio, "train.optimizer.lr": rate},
        "settings": {"model.attention.args.reduction": ratio, "train.optimizer.lr": rate},
        "values": {"accuracy": value, "macs": 10.0 * ratio} if state == "done" else {},
        "counts": {"macs": 10.0 * ratio},
        "validation_accuracy": {"1000": value, "1001": value},
        "trials": {"1000": f"{number:04x}aa", "1001": f"{number:04x}bb"},
        "curve": [[1, value - 1], [2, value]],
        "stopped": None,
        "why": None,
    } | more


def content(**more):
    search = {
        "start": "msa",
        "optuna_study": "s/msa/12345678",
        "asked": 5,
        "size": None,
        "epochs": 2,
        "dimensions": {
            "model.attention.args.reduction": {"kind": "choice", "choices": [4, 8, 16]},
            "train.optimizer.lr": {"kind": "range", "low": 0.001, "high": 0.1, "log": True},
        },
        "best": [2, 0],
        "importances": {"accuracy": {"train.optimizer.lr": 0.75, "model.attention.args.reduction": 0.25}},
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
def read(tmp_path):
    def read(said):
        path = Store(tmp_path).study("s").tuning
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said if isinstance(said, str) else json.dumps(said))
        return tuning.read_tuning(Store(tmp_path), "s")

    return read


def test_the_best_stands_first_with_its_seeds(read):
    found = read(content())
    [search] = found.searches
    assert tuning.answer(search, found.objectives) == (
        "msa: best of 2 is reduction=16 lr=0.1, 82.50 %; next reduction=8 lr=0.01, 80.00 %."
    )
    header, rows = tuning.settings_table(found, search)
    assert header == ("Setting", "Validation accuracy", "seed 1000", "seed 1001", "Trial")
    assert rows[0] == ("reduction=16 lr=0.1", "82.50 %", "82.50", "82.50", "2")


def test_the_notes_say_what_the_choice_rests_on(read):
    found = read(content())
    said = "\n".join(tuning.notes(found))
    assert "seeds 1000, 1001, none of which this study reports" in said
    assert "The test images took no part in it." in said
    assert "While tuning, and then alone: train.epochs: 2." in said
    # Two in full, one of its first epoch, one without a curve; in full the stopped one had taken four.
    assert "1 settings were stopped early (median): 5 of the 8 epochs" in said
    assert "The baseline baseline was not tuned" in said
    assert "trial 3 (reduction=4 lr=0.001) failed: non-finite: the loss is nan." in said


def test_places_on_an_axis_follow_its_scale(read):
    [search] = read(content()).searches
    rates = tuning.places(search, "train.optimizer.lr")
    assert rates == {0: pytest.approx(0.5), 1: pytest.approx(0.5), 2: 1.0, 3: 0.0}
    assert tuning.places(search, "model.attention.args.reduction") == {0: 0.5, 1: 0.0, 2: 1.0, 3: 0.0}


def test_the_best_so_far_follows_the_direction(read):
    [search] = read(content()).searches
    assert tuning.history_rows(search, "accuracy", "maximize") == [(0, 80.0, 80.0), (2, 82.5, 82.5)]
    assert tuning.history_rows(search, "macs", "minimize") == [(0, 80.0, 80.0), (2, 160.0, 80.0)]


def test_every_figure_that_is_named_can_be_drawn(read):
    said = content(objectives={"accuracy": "maximize", "macs": "minimize"})
    found = read(said)
    names = [figure.name for figure in tuning.figures(found)]
    kinds = ("history", "slices", "parallel", "importances", "pareto")
    assert names == [f"tuning-1-{kind}" for kind in kinds]
    drawn = {name: tuning.draw(found, name) for name in names}
    history, pareto = drawn["tuning-1-history"].axes, drawn["tuning-1-pareto"].axes
    assert list(history[0].lines[0].get_ydata()) == [80.0, 82.5]
    assert [line.get_xydata().tolist() for line in pareto[0].lines[:2]] == [[[80.0, 80.0]], [[160.0, 82.5]]]
    labels = [label.get_text() for label in drawn["tuning-1-importances"].axes[0].get_yticklabels()]
    assert labels == ["lr", "reduction"]


@pytest.mark.parametrize(
    "said", ["{", "[]", json.dumps({"schema_version": 1}), json.dumps({"schema_version": 2})]
)
def test_a_file_that_cannot_be_read_says_so(read, said):
    with pytest.raises(StoreError, match=r"tuning\.json"):
        read(said)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("tuned", "The baseline was tuned as well: 12 settings tried."),
        ("untuned", "The baseline was NOT tuned"),
        ("nothing to tune", "Nothing of what was searched exists for the baseline"),
    ],
)
def test_a_promoted_study_says_whether_its_baseline_had_the_same_chance(state, said):
    promoted = tuning.Promoted("s", state, (1000, 1001), {"baseline": 12, "msa tuned": 12})
    sentence = tuning.promoted_sentence(promoted, "baseline")
    assert sentence.startswith(
        "Chosen by tuning s on validation images and other seeds (1000, 1001): msa tuned: of 12"
    )
    assert said in sentence


def test_a_report_with_a_search_loads_neither_optuna_nor_torch():
    code = (
        "import sys, ablate.report.tuning, ablate.report.build; print({'optuna', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
