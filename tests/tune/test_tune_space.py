"""Which settings exist together, without a network: finite spaces are counted by hand."""

from __future__ import annotations

import pytest

from ablate.tune.space import Space

REDUCTION = "model.attention.args.reduction"
NULL_OR_SE = "model.attention: [null, {name: se, at: [block2]}]"


@pytest.fixture
def space(make):
    def space(lines):
        study = make(f"space: {{{lines}}}")
        return Space(study.defaults.model_dump(), study.tune.space)

    return space


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (f"{REDUCTION}: [2, 4, 8]", 3),
        (f"{REDUCTION}: {{low: 2, high: 8, step: 3}}", 3),
        ("train.optimizer.lr: {low: 0.1, high: 0.4, step: 0.1}", 4),
        (f"{NULL_OR_SE}, {REDUCTION}: [2, 4]", 1 + 2),
        (f"{NULL_OR_SE}, {REDUCTION}: [2, 4], train.epochs: [1, 2]", (1 + 2) * 2),
        (f"model.attention.name: [se, eca], {REDUCTION}: [4, 8], model.attention.args.kernel: [3]", 2 + 1),
        ("train.optimizer.name: [adam, sgd], train.optimizer.args.momentum: [0.5, 0.9]", 1 + 2),
    ],
)
def test_a_finite_space_has_what_can_be_counted_by_hand(space, lines, count):
    points = space(lines).points()
    assert len(points) == len({str(sorted(point.items(), key=str)) for point in points}) == count


def test_no_attention_is_one_of_the_settings_and_takes_its_arguments_with_it(space):
    found = space(f"{NULL_OR_SE}, {REDUCTION}: [2, 4]")
    none, first, _ = (found.settings(point).model.attention for point in found.points())
    assert none is None and (first.name, first.args) == ("se", {"reduction": 2})


def test_an_endless_space_is_sampled_at_the_ends_of_what_a_count_depends_on(space):
    found = space(f"train.optimizer.lr: {{low: 0.01, high: 1, log: true}}, {REDUCTION}: {{low: 1, high: 9}}")
    assert found.points() is None
    assert [point[REDUCTION] for point in found.sizes()] == [1, 5, 9]
    assert {point["train.optimizer.lr"] for point in found.sizes()} == {0.01}
