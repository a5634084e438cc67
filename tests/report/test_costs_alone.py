"""The report of a study without seeds: costs and claims on them, and not a word of accuracy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ablate.record import PlannedSweep
from ablate.report import build_report, render, write_report

CLAIMS = (
    {"id": "P", "say": "5-10 %", "kind": "ratio", "metric": "param_count"}
    | {"of": "msa", "against": ["baseline"], "between": [1.05, 1.10]},
    {"id": "T", "say": "larger is cheaper", "kind": "trend", "metric": "macs"}
    | {"over": "reduction", "at_most": 0},
)


@pytest.fixture
def costs(tree: Any) -> Any:
    """VGG16 as SEED_SYSTEMS counts it, with multi-scale attention at two ratios; nothing was trained."""
    tree.seeds, tree.claims = (), CLAIMS
    tree.title = "What it costs"
    tree.add_variant("baseline", {}, params=138_357_544, macs=15_470_264_320)
    tree.add_variant("msa", {}, params=139_887_356, macs=15_991_415_967)
    tree.add_variant("msa reduction=32", {}, params=139_124_292, macs=15_732_068_255, origin="sweep")
    tree.sweeps = [
        PlannedSweep(
            name="reduction",
            setting="model.attention.args.reduction",
            start="msa",
            levels=(("16", "msa"), ("32", "msa reduction=32")),
            numeric=True,
        )
    ]
    tree.plan()
    return tree


def test_claims_on_costs_are_judged_without_a_trial(costs: Any) -> None:
    document = json.loads(render(build_report(costs.store, "msa"), "json"))
    ratio, trend = document["claims"]
    assert ratio["verdict"] == "refuted"
    assert ratio["evidence"]["figures"][0]["estimate"] == 139_887_356 / 138_357_544
    assert "+1,529,812 parameters, +1.11 % of baseline's 138,357,544" in ratio["evidence"]["reason"]
    assert trend["verdict"] == "supported"
    assert "msa 15,991,415,967, msa reduction=32 15,732,068,255" in trend["evidence"]["reason"]
    assert trend["evidence"]["figures"][0]["estimate"] == 15_732_068_255 - 15_991_415_967


@pytest.mark.parametrize("format", ["markdown", "html", "latex"])
def test_it_speaks_of_costs_alone(costs: Any, format: str) -> None:
    """No verdict on a variant, no seed, no figure of accuracy; what each adds, in percent."""
    said = render(build_report(costs.store, "msa"), format)
    # The page brings its style and its script with it; the notes on claims say what a verdict is.
    said = re.sub(r"<(style|script)\b.*?</\1>", "", said, flags=re.DOTALL)
    sentence = said.replace("claims on accuracy are one family", "").replace("undecided: neither", "")
    for word in ("Accuracy", "accuracy", "finished run", "undecid", "seed", "None of the"):
        assert word not in sentence, word
    assert "139,887,356" in said and "+1.11" in said and "+3.37" in said


def test_every_file_is_written_and_no_figure_is_named(costs: Any) -> None:
    path = write_report(costs.store, "msa")
    tables = {file.name for file in (path.parent / "tables").iterdir()}
    assert {"variants.csv", "claims.csv", "variants.tex", "costs.tex", "claims.tex"} <= tables
    assert "![" not in path.read_text(encoding="utf-8")
    assert costs.store.read_plan("msa").looks == (), "nothing was there to be looked at"
