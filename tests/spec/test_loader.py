"""A study file becomes a Study; overrides act on defaults; whole objects replace, dotted keys merge."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ablate.errors import StudyError
from ablate.spec import Study, load_study, to_yaml, unsupported
from ablate.spec.source import read_document
from ablate.variants import canonical, expand

MSA = Path(__file__).parent / "msa.yaml"
Load = Callable[..., Study]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load(text: str, *overrides: str) -> Study:
        Path("s.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        return load_study("s.yaml", overrides)

    return load


def test_the_whole_of_a_study() -> None:
    study = load_study(MSA)
    assert (study.name, study.baseline, study.seeds) == ("msa", "baseline", (0, 1, 2, 3, 4))
    assert study.defaults.train.optimizer.lr == 0.001
    attention = study.defaults.model.attention
    assert attention is not None and attention.at == ("block2", "block3")
    assert list(study.variants) == ["baseline", "multi-scale", "+channel", "+spatial", "msa"]
    assert [claim.bounds for claim in study.claims] == [(0, None), (None, 0), (0, None), (0, None)]
    assert study.claims[2].variants_named() == [
        (("of",), "msa"),
        (("against", 0), "+channel"),
        (("against", 1), "+spatial"),
    ]
    assert study.analysis.margin == 0.5
    assert study.tune is not None and study.tune.space["model.attention.args.reduction"].values == (
        4,
        8,
        16,
        32,
    )
    assert study.where("variants", "msa") == f"{MSA}:26"


MINIMAL = """
    name: a
    baseline: base
    variants:
      base: {}
"""


def test_a_minimal_study_has_five_seeds(load: Load) -> None:
    study = load(MINIMAL)
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.analysis.model_dump() == {
        "test": "welch",
        "correction": "holm",
        "margin": 0.5,
        "level": 0.05,
    }


def test_a_number_of_seeds_counts_from_zero(load: Load) -> None:
    assert load(MINIMAL, "seeds=3").seeds == (0, 1, 2)
    assert load(MINIMAL, "seeds=[7, 2]").seeds == (7, 2)


def settings_of(study: Study, name: str) -> dict[str, Any]:
    found = expand(study).find(name)
    assert found is not None
    return canonical(found.settings)


def test_whole_objects_replace_and_dotted_keys_merge(load: Load) -> None:
    study = load("""
        name: a
        baseline: none
        defaults:
          model: {attention: {name: msa, args: {reduction: 4, spatial: false}, at: [block1, block2]}}
        variants:
          none: {model.attention: null}
          merged: {model.attention.args.reduction: 8}
          replaced: {model.attention: {name: se, at: block3}}
          both: {model.attention.args.reduction: 2, model.attention: {name: se, at: [block3]}}
          args: {model.attention.args: {reduction: 8}}
          again: {extends: none, model.attention.name: se, model.attention.at: [block1]}
          child: {extends: merged, train.epochs: 2}
    """)
    assert settings_of(study, "none")["model"]["attention"] is None
    merged = settings_of(study, "merged")["model"]["attention"]
    assert merged["args"] == {"reduction": 8, "multi_scale": True, "channel": True, "spatial": False}
    assert settings_of(study, "replaced")["model"]["attention"] == {
        "name": "se",
        "args": {"reduction": 16},
        "at": ["block3"],
    }
    assert settings_of(study, "both")["model"]["attention"]["args"] == {"reduction": 2}
    assert settings_of(study, "args")["model"]["attention"]["args"]["spatial"] is True
    assert settings_of(study, "again")["model"]["attention"]["at"] == ["block1"]
    child = settings_of(study, "child")
    assert (child["model"]["attention"], child["train"]["epochs"]) == (merged, 2)


def test_overrides_change_defaults_and_leave_what_a_variant_sets_itself(load: Load) -> None:
    text = """
        name: a
        baseline: base
        defaults: {train: {epochs: 9, optimizer: {name: sgd, lr: 0.1}}}
        variants:
          base: {}
          long: {train.epochs: 20}
    """
    study = load(
        text,
        "train.epochs=2",
        "train.optimizer.lr=1e-3",
        "title=A short one",
        "analysis.margin=1",
        "defaults.data.fraction=0.5",
    )
    assert settings_of(study, "base")["train"]["epochs"] == 2
    assert settings_of(study, "base")["train"]["optimizer"]["name"] == "sgd"
    assert settings_of(study, "base")["train"]["optimizer"]["lr"] == 0.001
    assert settings_of(study, "base")["data"]["fraction"] == 0.5
    assert settings_of(study, "long")["train"]["epochs"] == 20
    assert (study.title, study.analysis.margin) == ("A short one", 1.0)
    assert study.where("defaults", "train", "epochs") == "command line"
    assert study.where("variants", "long") == "s.yaml:7"


def test_a_scope_is_one_line_however_it_is_folded_and_changes_no_variant(load: Load) -> None:
    study = load(MINIMAL + "    scope: >\n      Ten epochs\n      of fifty.\n\n      No more.\n")
    assert study.scope == "Ten epochs of fifty. No more."
    assert [v.id for v in expand(study).variants] == [v.id for v in expand(load(MINIMAL)).variants]


def test_a_study_of_costs_alone_has_no_seeds(load: Load) -> None:
    assert load(MINIMAL, "seeds=0").seeds == ()


def test_the_last_of_two_overrides_wins(load: Load) -> None:
    assert load(MINIMAL, "train.epochs=2", "train.epochs=3").defaults.train.epochs == 3


def test_a_study_with_overrides_can_be_written_and_read_again(load: Load, tmp_path: Path) -> None:
    study = load_study(MSA, ["train.epochs=2", "sweeps=[]", "claims=[]", "title=1e-3 is a rate"])
    (tmp_path / "again.yaml").write_text(to_yaml(study.document.data), encoding="utf-8")
    again = load_study(tmp_path / "again.yaml")
    assert again.model_dump() == study.model_dump()
    assert [v.id for v in expand(again).variants] == [v.id for v in expand(study).variants]


def test_a_search_may_choose_a_mechanism_and_arguments_that_only_some_have(load: Load) -> None:
    text = (
        MINIMAL
        + """
    tune:
      space:
        model.attention.name: [se, msa]
        model.attention.args.spatial: [true, false]
        train.optimizer.lr: {low: 1.0e-4, high: 0.1, log: true}
        train.epochs: {low: 2, high: 8}
    defaults: {model: {attention: {name: msa, at: [block1], args: {channel: false}}}}
    """
    )
    study = load(text)
    assert study.tune is not None and study.tune.space["train.epochs"].high == 8
    with pytest.raises(StudyError, match="has no argument 'spatial'"):
        load(text.replace("[se, msa]", "[se]"))


LIBRARIES = """
    name: a
    baseline: base
    defaults:
      model:
        backbone: torchvision:resnet50
    variants:
      base: {}
      vgg: {model.backbone: vgg16}
      pretrained: {model.backbone: cnn, model.weights: default}
      eca: {model.backbone: cnn, model.attention: {name: "timm:eca", at: [block1]}}
      staged: {model.backbone: cnn, train.stages: [{epochs: 3}]}
      own: {model.backbone: "no_such_package.nets:Net"}
    matrix:
      - {from: base, set: {backbone: {model.backbone: {small: cnn, other: "timm:resnet18"}}}}
"""


def test_names_of_libraries_are_valid_and_a_module_that_is_not_there_is_said(load: Load) -> None:
    study = load(LIBRARIES)
    assert [str(problem).split("\n")[0] for problem in unsupported(study)] == [
        "s.yaml:13: model.backbone: there is no module 'no_such_package.nets' on Python's path",
    ]
    assert unsupported(load_study(MSA)) == []


def test_a_module_of_ones_own_takes_any_arguments(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_gates.py").write_text("raise SystemExit('must not be run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    study = load("""
        name: a
        baseline: base
        variants:
          base: {}
          mine: {model.attention: {name: "my_gates:Gate", at: ["**.relu"], args: {power: 2}}}
        sweeps: [{from: mine, set: model.attention.args.power, values: [1, 3]}]
    """)
    assert unsupported(study) == []
    assert [v.name for v in expand(study).variants] == ["base", "mine", "mine power=1", "mine power=3"]


def test_validating_loads_no_torch() -> None:
    script = (
        "import sys\nfrom ablate.spec import load_study, json_schema, "
        "unsupported\nfrom ablate.variants import expand\n"
        f"study = load_study({str(MSA)!r})\nexpand(study), unsupported(study), json_schema()\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'torchvision', 'numpy', 'pandas')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _places(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place] * bool(place) + [inner for key, value in items for inner in _places(value, (*place, key))]


GOOD = read_document(MSA).data
JUNK = st.sampled_from(
    [
        *(None, True, 0, -1, 2, 1.5, 10**15, "", "x", "../x", "on", "model.attention.at"),
        *("package.module:Name", "timm:x", [], [None], [[]], ["a", 1], [{}], {}, {"a": 1}, {"": None}),
        *({"low": 1}, {"model.attention": {"name": "se"}}),
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(_places(GOOD)), JUNK), min_size=1, max_size=3))
@example(edits=[(("variants",), {"a": {"extends": ["b"]}})])
@example(edits=[(("sweeps", 0, "values"), {"a": {"b": 1}})])
@example(edits=[(("defaults",), 5)])
@example(edits=[(("designs", 0, "switches"), {"a": 5})])
def test_whatever_stands_anywhere_the_study_is_read_or_its_faults_are_named(
    edits: list[tuple[tuple[Any, ...], Any]], tmp_path: Path
) -> None:
    data: Any = plain_copy(GOOD)
    for place, junk in edits:
        node = data
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = junk
        except (KeyError, IndexError, TypeError):
            continue
    path = tmp_path / "fuzz.yaml"
    path.write_text(to_yaml(data), encoding="utf-8")
    try:
        study = load_study(path)
        assert expand(study).variants[0].name == study.baseline
        unsupported(study)
    except StudyError as error:
        for problem in error.problems:
            assert problem.where.startswith(f"{path}:"), problem
            assert problem.message


def plain_copy(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: plain_copy(value) for key, value in data.items()}
    return [plain_copy(item) for item in data] if isinstance(data, list) else data
