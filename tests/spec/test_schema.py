"""The JSON Schema for editors agrees with the checks, as far as a schema can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ablate.errors import StudyError
from ablate.spec import json_schema, load_study, write_starter
from ablate.spec.dotted import known_keys
from ablate.spec.schema import DESCRIPTIONS
from ablate.spec.source import read_document
from ablate.variants import expand

jsonschema = pytest.importorskip("jsonschema")

MSA = Path(__file__).parent / "msa.yaml"
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def study(**parts: Any) -> dict[str, Any]:
    return {"name": "a", "baseline": "b", "variants": {"b": {}}} | parts


def test_it_is_a_schema_that_survives_json_and_holds_the_good_study() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert list(VALIDATOR.iter_errors(read_document(MSA).data)) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"seeds": 5, "title": "t", "scope": "Ten epochs of fifty."},
        {"seeds": 0},
        {
            "variants": {
                "b": None,
                "c": {"extends": "b", "model.attention": None, "model.attention.args.reduction": 4},
            }
        },
        {"variants": {"b": {"train.schedule": {"name": "step", "gamma": 0.5}, "train.clip_norm": None}}},
        {"variants": {"b": {"model.attention.args.kernel": None, "model.attention.args.position": "none"}}},
        {
            "defaults": {
                "model": {"attention": {"name": "my.gates:Gate", "at": "block1", "args": {"power": 2}}}
            }
        },
        {"defaults": {"train": {"optimizer": {"name": "sgd", "args": {"momentum": 0.9}}, "stages": []}}},
        {"matrix": [{"from": "b", "set": {"train.epochs": [1, 2]}, "exclude": [{"epochs": 1}]}]},
        {
            "tune": {
                "space": {
                    "train.optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
                    "train.epochs": [1, 2],
                }
            }
        },
        {"claims": [{"id": "A", "kind": "contrast", "of": {"b": 1, "c": -1}, "between": [0, 1]}]},
    ],
)
def test_it_accepts_what_the_checks_accept(parts: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(study(**parts))] == []


@pytest.mark.parametrize(
    "parts",
    [
        {"sead": 5},
        {"seeds": -1},
        {"scope": 5},
        {"name": "../a"},
        {"variants": {}},
        {"variants": {"b": {"train.epoch": 3}}},
        {"variants": {"b": {"train.epochs": 0}}},
        {"variants": {"b": {"model.attention.args.reduction": 0}}},
        {"variants": {"b": {"model.attention.args.kernel": 4}}},
        {"variants": {"b": {"model.attention.args.position": "rotary"}}},
        {"variants": {"b": {"train.schedule.name": "plato"}}},
        {"defaults": {"train": {"epochs": "four"}}},
        {"defaults": {"data": {"source": "fashion_mini"}}},
        {"defaults": {"model": {"attention": {"name": "se"}}}},
        {"sweeps": [{"from": "b", "set": "train.epochs", "values": []}]},
        {"designs": [{"kind": "half", "from": "b", "switches": {"a": "train.compile"}}]},
        {"analysis": {"test": "welsh"}},
        {"claims": [{"id": "A", "kind": "differnce", "of": "b", "against": "c", "at_least": 0}]},
        {"tune": {"space": {"epochs": [1]}}},
    ],
)
def test_it_refuses_what_the_checks_refuse(parts: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(study(**parts)))


def test_every_setting_is_described_where_an_editor_shows_it() -> None:
    properties = SCHEMA["properties"]["variants"]["additionalProperties"]["properties"]
    for key in known_keys():
        assert properties[key].get("description"), key
    assert set(DESCRIPTIONS) <= set(known_keys())


def test_the_starting_study_is_valid_and_is_never_written_over(tmp_path: Path) -> None:
    path, schema = write_starter(tmp_path / "new folder" / "My Study.yaml")
    assert path.read_text().startswith("# yaml-language-server: $schema=ablate.schema.json\n")
    assert (schema.name, schema.parent) == ("ablate.schema.json", path.parent)
    assert json.loads(schema.read_text()) == SCHEMA
    study = load_study(path)
    assert study.name == "my-study"
    assert [v.name for v in expand(study).variants][:3] == ["baseline", "multi-scale", "msa"]
    content = path.read_text()
    head, _, tune = content.partition("# tune:")
    path.write_text(f"{head}tune:{tune.replace(chr(10) + '#', chr(10))}")
    searched = load_study(path).tune
    assert searched is not None and (searched.start, searched.also) == ("msa", ("baseline",))
    path.write_text("mine")
    with pytest.raises(StudyError, match="exists already; it was left as it is"):
        write_starter(path)
    assert path.read_text() == "mine"
