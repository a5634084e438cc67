"""What is said of a search: what the choice rests on, and whether the baseline had the same chance."""

from __future__ import annotations

import pytest

from ablate.report import tuning
from ablate.report.tuning.words import in_words, short_names, told


def test_the_best_stands_first_with_its_seeds(read, content):
    found = read(content())
    [search] = found.searches
    assert tuning.answer(search, found.objectives) == (
        "msa: best of 2 is reduction=16 lr=0.1, 82.50 %; next reduction=8 lr=0.01, 80.00 %. "
        "1 of 4 settings FAILED."
    )
    header, rows = tuning.settings_table(found, search)
    assert header == ("Setting", "Validation accuracy", "seed 1000", "seed 1001", "Trial")
    assert rows[0] == ("reduction=16 lr=0.1", "82.50 %", "82.50", "82.50", "2")


def test_the_notes_say_what_the_choice_rests_on(read, content):
    found = read(content())
    said = "\n".join(tuning.notes(found))
    assert "seeds 1000, 1001, none of which this study reports" in said
    assert "The test images took no part in it." in said
    assert "While tuning, and then alone: train.epochs: 2." in said
    # Two in full, one of its first epoch, one without a curve; in full the stopped one had taken four.
    assert "1 setting was stopped early (median): 5 of the 8 epochs" in said
    assert "The baseline baseline was not tuned" in said
    assert "trial 3 (reduction=4 lr=0.001) failed: non-finite: the loss is nan." in said


def test_a_reason_ends_as_one_sentence(read, content):
    said = content()
    said["searches"][0]["trials"][3]["why"] = "matches 'blok3'\n    did you mean 'block3'?"
    assert "failed: matches 'blok3'; did you mean 'block3'?" in tuning.notes(read(said))[-1]
    assert tuning.notes(read(said))[-1].endswith("'block3'?")


def test_a_search_that_an_edited_file_left_behind_is_told(read, content):
    said = content()
    said["searches"][0]["others"] = [{"settings": 12, "space": "reduction of 2, 4"}]
    assert tuning.notes(read(said))[-1].startswith(
        "msa: another search (12 settings, over reduction of 2, 4) is kept beside this one, which has 4 of 5"
    )


def test_what_was_promoted_is_told_to_three_digits():
    settings = {
        "baseline": {},
        "msa tuned": {"model.attention.args.reduction": 8, "train.optimizer.lr": 0.0123456},
    }
    promoted = tuning.Promoted("s", "untuned", (1000,), {}, settings)
    line = "Settings, as tuned: baseline: as it is; msa tuned: reduction=8 lr=0.0123."
    assert tuning.settings_line(promoted) == line
    assert tuning.settings_line(None) == ""


def test_objectives_are_told_in_their_units():
    values = {
        "accuracy": 81.256,
        "param_count": 1234567,
        "macs": 2.5e6,
        "latency_ms": 1.5,
        "peak_memory_bytes": 3e6,
    }
    assert [told(metric, values) for metric in (*values, "other")] == [
        "81.26 %",
        "1,234,567",
        "2.50 M",
        "1.500 ms",
        "2.9 MiB",
        "–",
    ]


def test_settings_that_end_alike_are_told_apart():
    keys = [
        "train.optimizer.name",
        "model.attention.name",
        "model.attention.args.reduction",
        "train.lr.attention",
    ]
    assert list(short_names(keys).values()) == [
        "optimizer.name",
        "attention.name",
        "reduction",
        "lr attention",
    ]
    said = {
        "model.attention.at": ["block2", "block3"],
        "model.attention": {"name": "se", "args": {"reduction": 4}},
    }
    assert in_words(said) == "at=block2 block3 attention={name: se, args: {reduction: 4}}"


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
