"""What a family of comparisons says beside its verdicts."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ablate.report import build_report, render_markdown
from ablate.report.comparisons import unequal_spread

DUNNETT = {"test": "dunnett", "correction": "holm", "margin": 0.5, "level": 0.05}


def fill(tree: Any, unstable: float, analysis: dict[str, Any]) -> Any:
    rng = np.random.default_rng(5)
    tree.analysis = analysis
    for name, std in (("baseline", 0.2), ("se", 0.2), ("cbam", 0.2 * unstable)):
        tree.add_variant(name, {seed: 85 + rng.normal(scale=std) for seed in tree.seeds})
    tree.plan()
    return build_report(tree.store, "msa")


def test_dunnetts_test_warns_of_an_unstable_variant(tree: Any) -> None:
    report = fill(tree, 8.0, DUNNETT)
    warning = unequal_spread(report.variants)
    assert warning is not None
    stds = {row.name: row.accuracy.std for row in report.variants if row.accuracy}
    assert f"{stds['cbam']:.2f} of cbam" in warning and "Bartlett's p = " in warning
    assert "wrong twice as often" in render_markdown(report).replace("\n", " ")


@pytest.mark.parametrize(("unstable", "test"), [(1.0, "dunnett"), (8.0, "welch")])
def test_equal_spread_and_welchs_test_give_no_warning(tree: Any, unstable: float, test: str) -> None:
    report = fill(tree, unstable, DUNNETT | {"test": test})
    assert unequal_spread(report.variants) is None
    assert "Warning: Dunnett" not in render_markdown(report)


def test_judging_alone_gives_what_the_report_prints(tree: Any) -> None:
    report = fill(tree, 1.0, DUNNETT | {"test": "welch"})
    margins = {row.against.judgement.margin for row in report.variants if row.against}
    assert margins == {0.5}
    for row in report.variants:
        if row.against:
            judgement = row.against.judgement
            assert judgement.mde == pytest.approx(dataclasses.replace(judgement, verdict="undecided").mde), (
                "planning hangs on the evidence, not on the verdict"
            )
