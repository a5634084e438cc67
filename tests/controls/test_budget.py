"""Widened baselines: the budget by a closed form, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablate.controls import budget_controls, describe_control
from ablate.errors import StudyError
from ablate.spec import load_study
from ablate.trial import inspect_variant
from ablate.variants import expand

OWN = """\
from torch import nn

def net(classes, image_shape, width=8, deep=False):
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(16), nn.Flatten(),
                         nn.Linear(width, classes))
"""

GATE = """\
import torch

class Gate(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale
"""


def scaled(base: int, width: float) -> int:
    return max(1, int(base * width + 0.5))


def cnn_params(width: float, classes: int = 3) -> int:
    """Three blocks on 1×16×16 (2×2 at the end), written out: conv and its bias, batch norm, two linear."""
    a, b, c, units = (scaled(base, width) for base in (32, 64, 128, 512))
    convolutions = 9 * (1 * a + a * b + b * c) + a + b + c
    return convolutions + 2 * (a + b + c) + (4 * c + 1) * units + (units + 1) * classes


def cnn_macs(width: float, classes: int = 3) -> int:
    a, b, c, units = (scaled(base, width) for base in (32, 64, 128, 512))
    return 9 * (256 * a + 64 * a * b + 16 * b * c) + 4 * c * units + units * classes


@pytest.mark.parametrize(("match", "formula"), [("params", cnn_params), ("macs", cnn_macs)])
def test_the_control_is_the_width_nearest_to_the_budget_of_all(
    planned: Callable[..., Any], match: str, formula: Callable[[float], int]
) -> None:
    case = planned(f"controls: [{{match: {match}, to: msa}}]\n")
    found = budget_controls(case.study, case.expansion, case.inspect)
    (control,) = found.controls
    msa = case.inspect(case.expansion.find("msa").settings)
    budget = msa.param_count if match == "params" else msa.macs
    assert (control.budget, control.baseline) == (budget, formula(0.25))
    assert control.achieved == formula(control.value)
    best = min(abs(formula(index / 10_000) - budget) for index in range(2_000, 6_000))
    slack = 0.005 * abs(budget - control.baseline)
    assert abs(control.achieved - budget) <= max(best, slack)
    assert abs(control.achieved / budget - 1) < 0.01 and not found.warnings
    *others, variant = found.expansion.variants
    assert others == list(case.expansion.variants)
    assert (variant.name, variant.origin) == (f"baseline {match}=msa", "control")
    assert variant.settings.model.args == {"width": control.value}
    assert variant.settings.model.attention is None
    assert variant.changed == {"model.args.width": control.value}
    assert variant.where.endswith("s.yaml:12")
    counted = found.inspections[variant.name]
    assert (counted.param_count, counted.macs) == (cnn_params(control.value), cnn_macs(control.value))
    assert len(case.built) <= 20


def test_the_width_has_few_digits_and_no_shorter_one_builds_the_same(planned: Callable[..., Any]) -> None:
    case = planned("controls: [{match: params, to: msa}]\n")
    (control,) = budget_controls(case.study, case.expansion, case.inspect).controls
    digits = len(str(control.value).split(".")[1])
    assert digits <= 3
    shorter = [index / 10 ** (digits - 1) for index in range(1, 10**digits)]
    assert all(cnn_params(width) != control.achieved for width in shorter)


def test_squeeze_and_excitation_in_the_three_blocks_is_matched_by_one_hidden_unit(tmp_path: Path) -> None:
    (tmp_path / "s1.yaml").write_text(
        "name: s1\nbaseline: baseline\n"
        "defaults: {model: {attention: {name: se, args: {reduction: 16}, at: 'block*.relu'}}}\n"
        "variants: {baseline: {model.attention: null}, se: {}}\n"
        "controls: [{match: params, to: se}, {match: macs, to: se}]\n"
    )
    study = load_study(tmp_path / "s1.yaml")
    found = budget_controls(study, expand(study), lambda settings: inspect_variant(settings, (3, 32, 32), 10))
    params, macs = found.controls
    assert (params.baseline, params.budget, params.value) == (1_147_914, 1_150_602, 1.002)
    assert params.achieved == 1_147_914 + 2048 + 1 + 10  # 513 units instead of 512
    assert macs.variant == params.variant and macs.achieved == 11_375_616 + 2048 + 10
    assert found.expansion.find("baseline macs=se").name == "baseline params=se"


def test_two_controls_of_one_study_share_builds_and_stand_apart(planned: Callable[..., Any]) -> None:
    case = planned(
        "controls:\n- {match: params, to: msa}\n- {match: macs, to: msa}\n"
        "- {match: params, to: msa, by: hidden}\n"
    )
    found = budget_controls(case.study, case.expansion, case.inspect)
    names = [variant.name for variant in found.expansion.variants[2:]]
    assert names == ["baseline params=msa", "baseline macs=msa", "baseline params=msa by=hidden"]
    assert [control.variant for control in found.controls] == names
    deeper = found.controls[2]
    assert isinstance(deeper.value, int)
    each = 4 * 32 + 1 + 3  # parameters of one hidden unit
    assert deeper.achieved == deeper.baseline + (deeper.value - 128) * each
    assert 2 * abs(deeper.achieved - deeper.budget) <= max(each, 0.02 * (deeper.budget - deeper.baseline))
    assert len({settings.model_dump_json() for settings in case.built}) == len(case.built)
    assert describe_control(deeper).startswith(
        f"baseline params=msa by=hidden: hidden {deeper.value} gives {deeper.achieved:,} parameters, "
    )


def test_generated_variants_can_be_matched_and_a_twin_keeps_its_name(planned: Callable[..., Any]) -> None:
    sweep = "sweeps: [{from: msa, set: model.attention.args.reduction, as: reduction, values: [2]}]\n"
    first = planned(sweep + "controls: [{match: params, to: msa reduction=2}]\n")
    found = budget_controls(first.study, first.expansion, first.inspect)
    width = found.controls[0].value
    again = planned(
        f"  wide: {{model.attention: null, model.args.width: {width}}}\n"
        + sweep
        + "controls: [{match: params, to: msa reduction=2}]\n"
    )
    joined = budget_controls(again.study, again.expansion, again.inspect)
    assert joined.controls[0].variant == "wide" and not joined.inspections
    assert joined.expansion.find("baseline params=msa reduction=2").name == "wide"
    assert len(joined.expansion.variants) == len(again.expansion.variants)


def test_a_budget_that_nothing_meets_better_leaves_the_baseline_its_own_control(
    planned: Callable[..., Any], own_module: Callable[[str, str], None]
) -> None:
    own_module("one_gate", GATE)
    case = planned(
        "  gate: {model.attention: {name: 'one_gate:Gate', at: block1}}\n"
        "controls: [{match: params, to: gate}, {match: macs, to: gate}]\n"
    )
    found = budget_controls(case.study, case.expansion, case.inspect)
    assert [(c.variant, c.value) for c in found.controls] == [("baseline", None)] * 2
    assert [variant.name for variant in found.expansion.variants] == ["baseline", "msa", "gate"]
    assert found.expansion.find("baseline macs=gate") is found.expansion.variants[0]
    assert not found.inspections
    params, macs = cnn_params(0.25), cnn_macs(0.25)
    assert [warning.split("s.yaml:13: ")[1] for warning in found.warnings] == [
        f"no width comes nearer to gate than the baseline, {params + 1:,} parameters against baseline's "
        f"{params:,}",
        f"gate adds nothing, {macs:,} MACs against baseline's {macs:,}: the baseline is its own control",
    ]


def test_a_smaller_variant_gets_a_smaller_control_and_other_training_is_said(
    planned: Callable[..., Any],
) -> None:
    case = planned(
        "  small: {model.attention: null, model.args.dropout: 0.1, model.args.hidden: 16, train.epochs: 2}\n"
        "controls: [{match: params, to: small}]\n"
    )
    found = budget_controls(case.study, case.expansion, case.inspect)
    (control,) = found.controls
    assert control.value < 0.25 and abs(control.achieved / control.budget - 1) < 0.01
    smaller, apart = found.warnings
    assert "small costs less" in smaller
    assert apart.endswith(
        "small differs from its control baseline params=small in train.epochs, too: their comparison is not "
        "one of networks alone"
    )


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (
            "{match: params, to: msa, by: wdth}",
            "s.yaml:12: controls[0]: the backbone 'cnn' has no numeric argument 'wdth'\n"
            "    allowed: width, dropout, hidden\n    did you mean 'width'?",
        ),
        (
            "{match: params, to: msa, by: dropout}",
            "s.yaml:12: controls[0]: with dropout, the number of parameters of 'baseline' stays below "
            "'msa''s 36,951, up to 0.99999\n    name another numeric argument of the backbone with `by: ",
        ),
        (
            "{match: macs, to: baseline}",
            "s.yaml:12: controls[0].to: 'baseline' is the baseline itself\n    name a variant",
        ),
        (
            "{match: macs, to: mas}",
            "s.yaml:12: controls[0].to: there is no variant 'mas'\n    allowed: baseline, msa\n"
            "    did you mean 'msa'?",
        ),
        (
            "{match: macs, to: msa}, {match: macs, to: msa, by: width}",
            "s.yaml:12: controls[1]: stands at ",
        ),
    ],
)
def test_what_cannot_be_a_control_is_an_error_with_its_line(
    planned: Callable[..., Any], tmp_path: Path, control: str, message: str
) -> None:
    with pytest.raises(StudyError) as error:
        case = planned(f"controls: [{control}]\n")
        budget_controls(case.study, case.expansion, case.inspect)
    assert f"{tmp_path}/{message}" in str(error.value)


def test_weights_fit_no_other_width(planned: Callable[..., Any]) -> None:
    case = planned("controls: [{match: params, to: msa}]\n")
    model = case.expansion.variants[0].settings.model.model_copy(update={"weights": "w.safetensors"})
    settings = case.expansion.variants[0].settings.model_copy(update={"model": model})
    case.expansion.variants[0].__dict__["settings"] = settings
    with pytest.raises(StudyError, match="starts from weights, and those fit no other width than its own"):
        budget_controls(case.study, case.expansion, case.inspect)


def test_a_function_of_ones_own_is_widened_by_the_argument_that_it_has(
    planned: Callable[..., Any], own_module: Callable[[str, str], None]
) -> None:
    own_module("own_net", OWN)
    more = "  wide: {model.attention: null, model.args.width: 23}\ncontrols: [{match: params, to: wide%s}]\n"
    case = planned(more % "", "own_net:net", "{}")
    found = budget_controls(case.study, case.expansion, case.inspect)
    assert found.controls[0].value == 23  # 13 × width + 3 parameters: met exactly
    assert found.controls[0].variant == "wide"
    case = planned(more % ", by: depth", "own_net:net", "{}")
    with pytest.raises(StudyError) as error:
        budget_controls(case.study, case.expansion, case.inspect)
    assert "has no argument 'depth'\n    allowed: width, deep\n" in str(error.value)
    case = planned(more % ", by: deep", "own_net:net", "{}")
    with pytest.raises(StudyError, match="does not say what its deep is"):
        budget_controls(case.study, case.expansion, case.inspect)


def test_steps_too_coarse_for_five_percent_are_refused_and_for_one_are_said(
    planned: Callable[..., Any], own_module: Callable[[str, str], None]
) -> None:
    signature = "(classes, image_shape, width=8, pad=0):\n    width = 8 * (width // 8) + pad"
    own_module("coarse_net", OWN.replace("(classes, image_shape, width=8, deep=False):", signature))
    more = "  wide: {model.attention: null, model.args.pad: %d}\ncontrols: [{match: params, to: wide}]\n"
    case = planned(more % 4, "coarse_net:net", "{}")
    with pytest.raises(StudyError) as error:
        budget_controls(case.study, case.expansion, case.inspect)
    assert (
        "no width brings 'baseline' within 5% of 'wide''s 159 parameters: the nearest, 'baseline' as it is, "
        "has 107 (-32.7%)"
    ) in str(error.value)
    case = planned(more % 31, "coarse_net:net", "{}")
    found = budget_controls(case.study, case.expansion, case.inspect)
    assert found.controls[0].achieved == 13 * 40 + 3
    assert found.warnings[0].split(": ", 1)[1] == (
        "not within 1%: baseline params=wide: width 40 gives 523 parameters, +2.55 % from wide's 510"
    )
