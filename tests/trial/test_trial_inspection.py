"""What is known of a variant before it is trained."""

import pytest
import torch

from ablate.errors import AblateError
from ablate.spec.settings import Settings
from ablate.trial import inspect_variant

SE = {"attention": {"name": "se", "args": {"reduction": 4}, "at": ["block*.relu"]}}


def s1(**attention):
    return Settings.model_validate({"model": {"attention": attention or None}})


def test_the_known_answers_of_s1():
    plain = inspect_variant(s1(), (3, 32, 32), 10)
    assert (plain.param_count, plain.macs, plain.attached) == (1_147_914, 11_375_616, ())
    se = inspect_variant(s1(name="se", at=["block*.relu"]), (3, 32, 32), 10)
    added = [2 * channels**2 // 16 for channels in (32, 64, 128)]
    assert se.param_count == 1_150_602 == plain.param_count + sum(added)
    assert se.macs - plain.macs == se.attention_macs == se.attention_param_count == sum(added)
    assert [(module.path, module.channels, module.param_count) for module in se.attached] == [
        (f"block{number}.relu", channels, count)
        for number, (channels, count) in enumerate(zip((32, 64, 128), added, strict=True), start=1)
    ]


def test_inspection_leaves_the_random_state(settings):
    before = torch.get_rng_state()
    inspect_variant(settings(**SE), (1, 8, 8), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_place_that_matches_nothing_is_found_before_training():
    with pytest.raises(
        AblateError, match=r"no module of the backbone matches 'block4'(.|\n)*did you mean 'block"
    ):
        inspect_variant(s1(name="se", at=["block4"]), (3, 32, 32), 10)


def test_a_glob_of_the_recipe_that_names_nothing_is_found_before_training(settings, stages):
    train = {"lr": {"blok1": 0.1, "attention.block9": 0.1}}
    with pytest.raises(AblateError, match=r"train.lr: 'blok1' names no(.|\n)*'attention.block9' names no"):
        inspect_variant(settings(train=train, **SE), (1, 8, 8), 10)
    for ways in (stages, {"lr": {"attention": 1e-4}}):
        assert inspect_variant(settings(train=ways), (1, 8, 8), 10).attached == (), "without attention"
