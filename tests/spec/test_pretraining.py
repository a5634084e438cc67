"""What a study may say of networks that are trained first; every fault with its line and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import StudyError
from ablate.spec import Study, json_schema, load_study

HEAD = """\
name: a
baseline: scratch
defaults: {data: {source: digits, classes: [5, 6]}}
"""
TAIL = """\
variants:
  scratch: {}
  tuned: {model.weights: "pretraining:base"}
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def load(text: str, *overrides: str) -> Study:
        Path("s.yaml").write_text(text, encoding="utf-8")
        return load_study("s.yaml", overrides)

    return load


@pytest.fixture
def faults(load):
    """The faults of a study, as they are printed."""

    def faults(text: str) -> list[str]:
        with pytest.raises(StudyError) as caught:
            load(text)
        return [str(problem) for problem in caught.value.problems]

    return faults


def test_a_pretraining_is_settings_by_name_and_may_extend_a_variant_or_another(load) -> None:
    study = load(
        HEAD
        + "pretraining:\n"
        + "  base: {extends: scratch, data.classes: [0, 1], train.epochs: 2}\n"
        + "  longer: {extends: base, train.epochs: 9}\n"
        + TAIL
    )
    assert list(study.pretraining) == ["base", "longer"]
    assert study.pretraining["longer"].extends == "base"
    assert study.where("pretraining", "longer") == "s.yaml:6"
    assert load(HEAD + "pretraining: null\nvariants: {scratch: {}}\n").pretraining == {}


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (
            "pretraining: {bace: {}}\n",
            "s.yaml:7: model.weights: there is no pretraining 'base'\n    allowed: bace\n"
            "    did you mean 'bace'?",
        ),
        (
            "",
            "s.yaml:6: model.weights: there is no pretraining 'base'; the study has none\n"
            "    add it to the file: pretraining: {base: {data.classes: […]}}",
        ),
        (
            "pretraining: {base: {}, scratch: {}}\n",
            "s.yaml:4: pretraining.scratch: 'scratch' is the name of a variant at s.yaml:6\n"
            "    give the pretraining another name",
        ),
        (
            "pretraining:\n  base: {extends: scrach}\n",
            "s.yaml:5: pretraining.base.extends: there is no variant and no pretraining 'scrach'\n"
            "    allowed: base, scratch, tuned\n    did you mean 'scratch'?",
        ),
        (
            "pretraining:\n  base: {extends: other}\n  other: {extends: base}\n",
            "s.yaml:5: pretraining.base.extends: goes round in a circle: base -> other -> base\n"
            "    let one of them start from the defaults, without extends",
        ),
        (
            "pretraining:\n  base: {model.weights: pretraining:other}\n"
            "  other: {model.weights: pretraining:base}\n",
            "s.yaml:5: model.weights: the pretraining 'base' would start from itself: base -> other -> base\n"
            "    set model.weights: null in the pretraining that starts from scratch",
        ),
        (
            "pretraining:\n  base: {extends: tuned}\n",
            "s.yaml:8: model.weights: the pretraining 'base' would start from itself: base -> base\n"
            "    set model.weights: null in the pretraining that starts from scratch",
        ),
        (
            "pretraining:\n  base: {model.backbone: mine:net}\n",
            "s.yaml:8: model.weights: the backbone here is 'cnn', but the pretraining 'base' trains "
            "'mine:net'\n    give both the same model.backbone",
        ),
        (
            "pretraining:\n  base: {train.epochs: no}\n",
            "s.yaml:5: pretraining.base: train.epochs: must be a whole number, got 'no'",
        ),
        (
            "pretraining: [base]\n",
            "s.yaml:4: pretraining: must be a mapping of names to dotted settings, got ['base']",
        ),
    ],
)
def test_every_fault_has_its_line(part, found, faults) -> None:
    assert found in faults(HEAD + part + TAIL)


def test_weights_for_all_by_default_must_not_be_those_of_the_pretraining_itself(faults) -> None:
    text = HEAD.replace("}}", "}, model: {weights: pretraining:base}}")
    assert faults(text + "pretraining: {base: {}}\nvariants: {scratch: {}}\n") == [
        "s.yaml:3: model.weights: the pretraining 'base' would start from itself: base -> base\n"
        "    set model.weights: null in the pretraining that starts from scratch"
    ]


def test_sweeps_and_the_matrix_may_name_a_pretraining_and_their_slips_are_found_there(load, faults) -> None:
    good = HEAD + "pretraining: {base: {}}\n" + TAIL
    sweep = "sweeps:\n  - {from: scratch, set: model.weights, as: start, values: {pre: %s, none: null}}\n"
    matrix = "matrix:\n  - from: tuned\n    set: {model.backbone: {mine: mine:net}}\n"
    load(good + sweep % "pretraining:base")
    assert faults(good + sweep % "pretraining:bas" + matrix) == [
        "s.yaml:9: model.weights: there is no pretraining 'bas'\n    allowed: base\n    did you mean 'base'?",
        "s.yaml:12: model.weights: the backbone here is 'mine:net', but the pretraining 'base' trains 'cnn'\n"
        "    give both the same model.backbone",
    ]


def test_a_variant_cannot_extend_a_pretraining(faults) -> None:
    text = HEAD + "pretraining: {base: {}}\nvariants:\n  scratch: {}\n  tuned: {extends: base}\n"
    assert faults(text) == [
        "s.yaml:7: variants.tuned.extends: there is no variant 'base'\n    allowed: scratch, tuned"
    ]


def test_an_editor_knows_the_key() -> None:
    properties = json_schema()["properties"]
    settings = properties["pretraining"]["additionalProperties"]
    assert settings == properties["variants"]["additionalProperties"]
    assert {"extends", "data.classes"} <= settings["properties"].keys()
