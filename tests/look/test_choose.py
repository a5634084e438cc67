"""Images: evenly over the classes, whoever asks. Trials: those with weights, and why not the others."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.look.choose import choose_images, choose_trials, class_numbers, count_wrong, stratified_order
from ablate.look.errors import LookError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), (30, 20, 10, 5, 2))).astype(np.int64)


@pytest.mark.parametrize("count", [1, 3, 5, 7, 10, 20])
def test_images_are_drawn_evenly_over_the_classes(count):
    rows = choose_images(LABELS, count)
    shown = np.bincount(LABELS[rows], minlength=5)
    assert len(set(rows.tolist())) == count
    room = np.bincount(LABELS) - shown  # only a class that has no more images may fall behind
    assert shown[room > 0].max() - shown[room > 0].min() <= 1
    assert (np.diff(LABELS[rows]) >= 0).all()


def test_fewer_images_are_some_of_more_and_every_draw_is_the_same():
    some, more = set(choose_images(LABELS, 8).tolist()), set(choose_images(LABELS, 12).tolist())
    assert some < more
    assert np.array_equal(choose_images(LABELS, 8), choose_images(LABELS.copy(), 8))
    assert sorted(stratified_order(LABELS).tolist()) == list(range(len(LABELS)))


def test_a_class_more_does_not_change_which_images_of_others_come():
    """What is asked of with --classes is chosen among what is left."""
    masked = np.where(LABELS == 3, -1, LABELS)
    assert 3 not in LABELS[choose_images(masked, 20)]
    with pytest.raises(LookError, match="no test image"):
        choose_images(np.full(4, -1), 2)


def test_wrong_predictions_come_first_the_most_wrong_before_all():
    wrong = np.zeros(len(LABELS), np.int64)
    wrong[[11, 40]] = 2
    wrong[[5, 6, 7]] = 1
    rows = choose_images(LABELS, 6, wrong=wrong)
    assert set(rows[:2].tolist()) == {11, 40}
    assert set(rows[2:5].tolist()) == {5, 6, 7}


def test_classes_by_name_glob_and_number():
    names = ("shirt", "coat", "shoe", "7")
    assert class_numbers(("sh*", "coat"), names) == [0, 2, 1]
    assert class_numbers(("1", "7"), names) == [1, 3]  # a name before a number
    with pytest.raises(LookError) as raised:
        class_numbers(("shrit",), names)
    assert str(raised.value) == "--classes: no class 'shrit'\n    did you mean 'shirt'?"


def test_trials_with_weights_and_why_not_the_others(tree):
    plan = tree.read_plan("seen")
    found, missing = choose_trials(tree, plan)
    assert [(one.variant, one.seed) for one in found] == [
        ("baseline", 0),
        ("baseline", 1),
        ("msa", 0),
        ("self", 0),
    ]
    assert missing == {
        "not finished; `ablate run STUDY train.keep=last` trains what is missing and keeps weights": [
            "msa, seed 1",
            "self, seed 1",
            "none kept, seed 1",
        ],
        "trained with train.keep: none, which leaves no weights; train again with "
        "`ablate run STUDY train.keep=last --force VARIANT`": ["none kept, seed 0"],
    }
    assert [one.variant for one in choose_trials(tree, plan, variants=("m*",), seeds=(0,))[0]] == ["msa"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variants": ("mas",)}, "no variant of seen matches 'mas'\n    did you mean 'msa'?"),
        ({"seeds": (0, 7)}, "the study seen has no seed 7\n    its seeds: 0, 1, 2"),
        (
            {"variants": ("none*",), "seeds": (0,)},
            "no trial of seen can be looked at:\n  none kept, seed 0: trained with train.keep: none, which "
            "leaves no weights; train again with `ablate run STUDY train.keep=last --force VARIANT`",
        ),
    ],
)
def test_what_cannot_be_shown_is_said_with_the_way_out(tree, asked, message):
    with pytest.raises(LookError) as raised:
        choose_trials(tree, tree.read_plan("seen"), **asked)
    assert str(raised.value) == message


def test_wrong_predictions_are_counted_over_the_trials(tree):
    found, _ = choose_trials(tree, tree.read_plan("seen"))
    arrays = [tree.read_predictions(one.record.id) for one in found]
    wrong, predicted = count_wrong(tree, found, arrays[0]["index"])
    assert wrong.sum() == sum((each["predicted"] != each["label"]).sum() for each in arrays)
    assert len(predicted) == 4
    nothing, none = count_wrong(tree, found, arrays[0]["index"][::-1])  # another test set
    assert nothing.sum() == 0 and not none
