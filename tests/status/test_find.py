"""Studies and trials are found by what people call them."""

from __future__ import annotations

import re

import pytest

from ablate.errors import StoreError
from ablate.status import find_study, find_trial


def test_a_study_is_found_by_name_folder_file_and_as_the_last_one(store, tmp_path, monkeypatch):
    assert find_study("msa", store.root)[1] == "msa"
    found, name = find_study(str(store.root / "msa"), tmp_path / "elsewhere")
    assert (found.root, name) == (store.root, "msa")
    monkeypatch.chdir(store.root / "msa")
    assert find_study(".", "nowhere")[1] == "msa"
    study = tmp_path / "file.yaml"
    study.write_text("name: msa\nbaseline: a\nvariants: {a: {model.attention: null}}\n")
    assert find_study(str(study), store.root)[1] == "msa"
    store.write_last("msa")
    assert find_study(None, store.root)[1] == "msa"


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("mas", "no study 'mas' was run under .*\n    did you mean 'msa'"),
        ("other", "no study 'other' was run under .*\n    there is: msa"),
        ("../msa", "no study '../msa' was run"),
        (None, "no study was run under .*\n    there is: msa"),
    ],
)
def test_what_is_not_there_names_what_is(store, study, said):
    with pytest.raises(StoreError, match=said):
        find_study(study, store.root)


def test_an_empty_tree_says_how_to_begin(tmp_path):
    with pytest.raises(StoreError, match="run one with `ablate run STUDY`"):
        find_study("msa", tmp_path)


@pytest.mark.parametrize(
    "name", ["b/1", "msa/b/1", "b-too/1", "msa/b-too/1", "0000000000000011", "00000000000000" + "11"]
)
def test_a_trial_is_found_by_what_it_is_called(store, tree, name):
    assert find_trial(name, store) == tree.id("b", 1)


def test_the_study_run_last_goes_first_and_one_trial_of_two_studies_is_one(store, tree):
    tree.plan_study("other", "ac")
    assert find_trial("a/0", store) == tree.id("a", 0)  # shared
    assert find_trial("c/0", store) == tree.id("c", 0)  # of one study only
    plan = store.read_plan("other")
    (a, c) = plan.variants
    own = a.model_copy(update={"trials": c.trials})
    store.write_plan(plan.model_copy(update={"variants": (own,)}))
    with pytest.raises(StoreError, match="'a/0' names 2 trials: msa/a/0, other/a/0\n    say more of it"):
        find_trial("a/0", store)
    store.write_last("other")
    assert find_trial("a/0", store) == tree.id("c", 0)


def test_the_beginning_of_an_id(store, tree):
    tree.write("a", 0)
    with pytest.raises(StoreError, match="names 4 trials: 0000000000000000, 0000000000000001, "):
        find_trial("000", store)
    plan = store.read_plan("msa")
    (a, b) = plan.variants
    unique = b.model_copy(update={"trials": {0: "beef" * 4}})
    store.write_plan(plan.model_copy(update={"variants": (a, unique)}))
    assert find_trial("be", store) == "beef" * 4


@pytest.mark.parametrize(
    ("name", "hint"),
    [("b/2", "did you mean 'b/"), ("msa/bb/0", "did you mean 'msa/b/0'"), ("zzz", "there is: msa")],
)
def test_a_trial_that_is_not_there(store, name, hint):
    with pytest.raises(StoreError, match=f"there is no trial '{re.escape(name)}' under .*\n    {hint}"):
        find_trial(name, store)


@pytest.mark.parametrize("name", ["", "../..", "/etc/passwd", "../../msa/b/1"])
def test_no_name_leads_out_of_the_tree(store, name):
    with pytest.raises(StoreError, match="there is no trial"):
        find_trial(name, store)
