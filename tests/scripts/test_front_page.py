"""The front page says what the reports say, in their figures and in nobody else's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(HERE / "scripts"))

from front_page import CLAIMS, GAPS, SHARES, front_page  # noqa: E402 - a script

TRIALS = [  # two at a time: two minutes and five, the second beginning a minute after the first
    {"started": "2026-01-02T03:04:00+00:00", "wall_s": 120.0},
    {"started": "2026-01-02T03:05:00+00:00", "wall_s": 300.0},
]


def claim(id: str, say: str, verdict: str, figures: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    found = {"id": id, "say": say, "verdict": verdict, "post_hoc": None, "kind": "difference"}
    found |= {"metric": "accuracy", "claimed": {"low": 0.0, "high": None, "unit": "points"}}
    return found | {"evidence": {"figures": figures, "machine": more.pop("machine", None)}} | more


def figure(name: str, estimate: float | None, sides: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = {"name": name, "estimate": estimate, "ci": None, "ci_level": None, "n": {}, "sides": sides}
    return found | more


def variant(name: str, **more: Any) -> dict[str, Any]:
    found = {"name": name, "aliases": [], "n": 5, "planned": 5, "param_delta": None}
    found |= {"accuracy_mean": None, "train_accuracy_mean": None, "minimum_detectable_effect": None}
    return found | more


def report(study: str, claims: list[dict[str, Any]], variants: list[dict[str, Any]], **more: Any) -> dict:
    environment = {"device": "cpu", "device_name": "A CPU", "torch": "2.6.0"}
    found = {"study": study, "baseline": "baseline", "seeds": [0, 1, 2, 3, 4], "claims": claims}
    found |= {
        "variants": variants,
        "environments": [environment],
        "trials": TRIALS,
    }
    return found | more


@pytest.fixture
def published(tmp_path: Path) -> Path:
    msa, baseline = "msa fraction=0.05", "baseline fraction=0.05"
    of_costs = {"kind": "ratio", "metric": "param_count"}
    reports = [
        report(
            "few-images-cpu",
            [
                claim(
                    "C6",
                    "it helps more with 5 % than with all",
                    "refuted",
                    [
                        figure(
                            "a − b − c + d",
                            -1.234,
                            {},
                            ci=[-2.345, -0.123],
                            ci_level=0.975,
                            n={"a": 5, "b": 4, "c": 5, "d": 5},
                        )
                        | {"sides": dict.fromkeys("abcd", 50.0)}
                    ],
                )
            ],
            [
                variant("baseline", aliases=["baseline fraction=1.0"], minimum_detectable_effect=None),
                variant(msa, accuracy_mean=40.0, train_accuracy_mean=61.5, minimum_detectable_effect=1.5),
                variant(
                    baseline, accuracy_mean=39.0, train_accuracy_mean=63.25, minimum_detectable_effect=2.5
                ),
            ],
            scope="A tenth of it.",
        ),
        report(
            "vgg16-costs",
            [
                claim(
                    "C2",
                    "MSA adds 5-10 %",
                    "refuted",
                    [figure("msa : baseline", 1.0110569, {"msa": 139_887_356, "baseline": 138_357_544})],
                    **of_costs,
                ),
                claim(
                    "C4l",
                    "a larger ratio is faster",
                    "undecided",
                    [figure("slope over reduction", None, {"msa": None})],
                    kind="trend",
                    metric="latency_ms",
                ),
            ],
            [variant("msa", n=0, planned=0, param_delta=1_529_812)],
            environments=[],
            trials=[],
            seeds=[],
        ),
    ]
    for each in reports:
        (tmp_path / each["study"]).mkdir()
        (tmp_path / each["study"] / "report.json").write_text(json.dumps(each))
    features = {"path": "backbone.features", "param_count": 14_714_688}
    (tmp_path / "vgg16-costs" / "modules.json").write_text(json.dumps({"baseline": {"rows": [features]}}))
    return tmp_path


def paragraph(page: str, claim_id: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(f"**{claim_id} · "))


def test_a_claim_on_accuracy_has_its_interval_its_level_and_its_seeds(published: Path) -> None:
    said = paragraph(front_page(published), "C6")
    assert (
        "*it helps more with 5 % than with all* is **refuted**: a − b − c + d −1.23 [−2.35, −0.12] points"
        in said
    )
    assert "at 97.50 %, n = 4;" in said, "the fewest seeds of all sides"
    assert "training accuracy less test accuracy is +21.50 points with it and +24.25 without" in said
    assert said.endswith("From [few-images-cpu](published/few-images-cpu/report.md).")


def test_a_claim_on_costs_has_what_was_counted_and_what_it_is_a_share_of(published: Path) -> None:
    said = paragraph(front_page(published), "C2")
    assert "**refuted**: +1,529,812 parameters, +1.11 % of 138,357,544" in said
    assert "msa adds +10.40 % to the 14,714,688 of `backbone.features`" in said
    assert "slope over reduction not measured" in paragraph(front_page(published), "C4")


def test_what_is_not_published_is_not_judged(published: Path) -> None:
    page = front_page(published)
    assert paragraph(page, "C1").endswith("by 0.7 points.** Not judged yet.")
    assert [line[2:4] for line in page.splitlines() if line.startswith("**C")] == [c.id for c in CLAIMS]
    assert "No trial here ran on a GPU" in page and "- few-images-cpu: A tenth of it." in page
    assert "| 15 | 5 | 1.50 to 2.50 | A CPU, torch 2.6.0 | 2026-01-02 | 7 | 6 |" in page
    assert "| 0 | 0 | – | – | none: costs alone | – | – |" in page


def test_every_study_that_the_page_may_speak_of_is_there_with_its_claims() -> None:
    """A name that slips would leave a claim without its evidence, and nobody would see it."""
    from ablate.spec import load_study

    files = {path.stem: path for path in (HERE / "studies").rglob("*.yaml")}
    for one in CLAIMS:
        for study, ids in one.evidence:
            loaded = load_study(files[study.removesuffix("-gpu")])
            assert set(ids) <= {each.id for each in loaded.claims}, (study, ids)
    named = {study for one in CLAIMS for study, _ in one.evidence}
    spoken = {sides[0] for several in (*GAPS.values(), *SHARES.values()) for sides in several}
    assert spoken <= named
