"""The time that is left, from the steps of few variants."""

from __future__ import annotations

import math
import sys

import pytest

from ablate.errors import AblateError
from ablate.runner import estimate, plan_study
from ablate.runner.estimates import duration
from ablate.runner.recall import Recall

MORE = """  se: {}
  se-all: {model.attention.at: [block1, block2, block3]}"""


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    used = Recall(tmp_path / "networks")
    monkeypatch.setattr(Recall, "usual", classmethod(lambda cls: used))


@pytest.fixture
def law(monkeypatch):
    """A step takes 10 ms and a nanosecond a MAC: names of the attention's places that were measured."""
    measured = []

    def step_s(settings, images, device):
        from ablate.trial import inspect_variant

        attention = settings.model.attention
        measured.append(() if attention is None else attention.at)
        return 0.01 + 1e-9 * inspect_variant(settings, images.shape, len(images.classes)).macs

    monkeypatch.setattr("ablate.trial.measured_step", step_s)
    return measured


def steps_of(plan, epochs, batch=128):
    """A forward pass is a third of a step: validation once an epoch, the test images twice."""
    train, validation = plan.record.data["train_count"], plan.record.data["validation_count"]
    per_epoch = math.ceil(train / batch) + validation / batch / 3
    return epochs * per_epoch + 2 * plan.record.data["test_count"] / batch / 3


def test_two_steps_tell_those_of_all_variants_of_a_recipe(make_study, root, law):
    plan = plan_study(make_study(replace=("  se: {}", MORE)), output=root)
    found = estimate(plan, workers=2)
    assert sorted(law) == [(), ("block1", "block2", "block3")], "the fewest and the most MACs"
    steps = steps_of(plan, epochs=1)
    each = [(0.01 + 1e-9 * plan.inspections[v.name].macs) * steps for v in plan.variants]
    assert len(each) == 4 and found == pytest.approx(2 * sum(each) / 2, rel=1e-3)
    assert estimate(plan, workers=100) == pytest.approx(max(each), rel=1e-3), "a trial is not divided"


def test_what_was_measured_today_is_not_measured_again(study, root, law):
    plan = plan_study(study, output=root)
    first = estimate(plan, workers=2)
    assert (estimate(plan, workers=2), len(law)) == (first, 2)


def test_recipes_and_backbones_are_measured_apart(make_study, root, law):
    others = (
        "  se: {}\n  slow: {train.batch_size: 256}\n  more: {train.epochs: 3}\n"
        "  wide: {model.args.width: 0.25}\n  res: {model.backbone: resnet18, model.attention: null}"
    )
    plan = plan_study(make_study(replace=("  se: {}", others)), output=root)
    estimate(plan, workers=1)
    # Two where epochs and width differ as well, one with the other batch, one of the ResNet.
    assert len(law) == 4


def test_a_users_own_module_is_measured_as_it_may_fail(make_study, root, tmp_path, monkeypatch):
    (tmp_path / "fails_backward.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Fails(torch.autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, x):\n"
        "        return x.clone()\n"
        "    @staticmethod\n"
        "    def backward(ctx, grad):\n"
        "        raise ValueError('no way back')\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, channels):\n"
        "        super().__init__()\n"
        "    def forward(self, x):\n"
        "        return Fails.apply(x) if x.requires_grad else x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = "  se: {}\n  own: {model.attention: {name: 'fails_backward:Own', at: [block1]}}"
    plan = plan_study(make_study(replace=("  se: {}", own)), output=root)
    macs = {name: found.macs for name, found in plan.inspections.items()}
    assert min(macs.values()) == macs["own"] == macs["baseline"], "no end of the range"
    try:
        with pytest.raises(AblateError, match="a training step of 'own' fails with ValueError: no way back"):
            estimate(plan, workers=1)
    finally:
        sys.modules.pop("fails_backward", None)


def test_a_length_in_words():
    assert [duration(s) for s in (0.2, 89, 90, 5399, 5400)] == [
        "1 s",
        "89 s",
        "2 minutes",
        "90 minutes",
        "1.5 hours",
    ]
