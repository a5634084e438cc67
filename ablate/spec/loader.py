"""A study file -> Study, or all that is wrong with it in one StudyError, in the order of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ablate.errors import Problem, Problems, StudyError, did_you_mean
from ablate.spec.claims import CLAIMS
from ablate.spec.dotted import keys_of
from ablate.spec.faults import Fault, Findings
from ablate.spec.generators import Generator
from ablate.spec.layers import check_layers
from ablate.spec.matrix import Matrix
from ablate.spec.names import VARIANT_RULE, variant_name_fault
from ablate.spec.overrides import apply_overrides
from ablate.spec.pretraining import check_pretraining
from ablate.spec.references import (
    check_generators,
    check_trains,
    check_tuning_seeds,
    check_users,
    check_variant_names,
)
from ablate.spec.settings import Settings
from ablate.spec.source import COMMAND_LINE, Document, Place, read_document
from ablate.spec.study import Control, Head, Study, VariantSpec
from ablate.spec.sweeps import Design, Sweep
from ablate.spec.tune import Tune
from ablate.spec.validation import faults_in
from ablate.spec.words import show

Model = TypeVar("Model", bound=BaseModel)


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """The study at `path` with KEY=VALUE overrides laid over it.

    Raises StudyError holding every fault; only a file that is no YAML at all says no more than that.
    """
    read = read_document(path)
    findings = Findings(read, Problems(list(read.problems)))
    document = apply_overrides(findings.document, overrides, findings.problems)
    study = _read(Findings(document, findings.problems))
    if study is None:
        found = [
            problem
            for problem in findings.problems.found
            if problem.where not in read.stand_ins or problem in read.problems
        ]
        raise StudyError(sorted(found, key=_line))
    return study


def _line(problem: Problem) -> tuple[int, int]:
    """The command line first, then the lines of the file."""
    found = re.search(r":(\d+)$", problem.where)
    return (0, 0) if problem.where == COMMAND_LINE else (1, int(found[1]) if found else 0)


def _read(findings: Findings) -> Study | None:
    """Part by part, so that a fault in one does not hide those of another; None when there is any."""
    document = findings.document
    _unknown_keys(findings)
    head = _head(findings)
    variants, pretraining = _variants(findings), _pretraining(findings)
    sweeps, designs = _items(findings, "sweeps", Sweep), _items(findings, "designs", Design)
    matrix, controls = _items(findings, "matrix", Matrix), _items(findings, "controls", Control)
    claims = _claims(findings)
    raw_tune = document.data.get("tune")
    tune = None if raw_tune is None else _one(findings, ("tune",), Tune, raw_tune)
    defaults = document.data.get("defaults")
    generators: dict[Place, Generator] = {**sweeps, **designs, **matrix}

    if defaults is not None and not isinstance(defaults, dict):
        message = f"must be a mapping of data, model and train, got {show(defaults)}"
        findings.add(Fault(("defaults",), message))
        defaults = None
    check_layers(findings, defaults or {}, variants, generators, tune)
    check_variant_names(findings, document.data.get("baseline"), variants)
    check_generators(findings, variants, generators)
    check_pretraining(findings, defaults or {}, variants, pretraining, generators, tune)
    if all(
        _whole(document, key, found)
        for key, found in (("sweeps", sweeps), ("designs", designs), ("matrix", matrix))
    ):
        check_users(findings, variants, generators, controls=controls, claims=claims, tune=tune)
    if tune is not None and head is not None:
        check_tuning_seeds(findings, tune, head.seeds)
    if head is not None and not head.seeds:
        check_trains(findings, claims, tune)
    if findings.problems.found or head is None:
        return None
    return Study.model_validate(
        {name: getattr(head, name) for name in Head.model_fields}
        | {"pretraining": pretraining, "variants": variants, "tune": tune, "document": document}
        | {"defaults": Settings.model_validate(defaults or {})}
        | {
            "sweeps": tuple(sweeps.values()),
            "designs": tuple(designs.values()),
            "matrix": tuple(matrix.values()),
        }
        | {"controls": tuple(controls.values()), "claims": tuple(claims.values())}
    )


def _whole(document: Document, key: str, found: Mapping[Place, BaseModel]) -> bool:
    """Whether every item of a list could be read, so that all variants have their names."""
    raw = document.data.get(key)
    return raw is None or (isinstance(raw, list) and len(raw) == len(found))


def _unknown_keys(findings: Findings) -> None:
    known = tuple(name for name in keys_of(Study) if name != "document")
    for key in findings.document.data:
        if key not in known:
            findings.add(Fault((key,), f"unknown key {show(key)}", known, did_you_mean(key, known)))


def _one(findings: Findings, place: Place, model: type[Model], raw: Any) -> Model | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for fault in faults_in(error, model):
            findings.add(fault, (*place, *fault.place))
        return None


def _head(findings: Findings) -> Head | None:
    data = findings.document.data
    given = {name: data[name] for name in Head.model_fields if name in data}
    stem = re.sub(r"[^a-z0-9]+", "-", Path(findings.document.path).stem.lower()).strip("-")
    ways_out: dict[Place, str] = {
        ("name",): f"add a line 'name: {stem or 'my-study'}'; it names the folder of the results",
        ("baseline",): "add a line 'baseline: NAME' with the variant that every other is compared with",
    }
    try:
        return Head.model_validate(given)
    except ValidationError as error:
        for fault in faults_in(error, Head):
            hint = ways_out.get(fault.place, fault.hint) if fault.message == "is missing" else fault.hint
            findings.add(Fault(fault.place, fault.message, fault.allowed, hint))
        return None


def _variants(findings: Findings) -> dict[str, VariantSpec]:
    """The variants by name; what their settings say is checked by `check_layers`."""
    raw = findings.document.data.get("variants")
    place: Place = ("variants",)
    if raw is None or raw == {}:
        hint = "add the baseline at least: variants: {baseline: {model.attention: null}}"
        findings.add(Fault(place, "there are no variants", hint=hint))
        return {}
    return _named(findings, "variants", raw)


def _pretraining(findings: Findings) -> dict[str, VariantSpec]:
    """The pretrainings by name; what they say is checked by `check_pretraining`."""
    raw = findings.document.data.get("pretraining")
    return {} if raw is None else _named(findings, "pretraining", raw)


def _named(findings: Findings, key: str, raw: Any) -> dict[str, VariantSpec]:
    if not isinstance(raw, dict):
        findings.add(Fault((key,), f"must be a mapping of names to dotted settings, got {show(raw)}"))
        return {}
    return {name: _variant(findings, key, name, body) for name, body in raw.items()}


def _variant(findings: Findings, key: str, name: str, body: Any) -> VariantSpec:
    place: Place = (key, name)
    fault = variant_name_fault(name)
    if fault:
        findings.add(Fault(place, f"the name {show(name)} {fault}", (VARIANT_RULE,)), name=key)
    if body is not None and not isinstance(body, dict):
        findings.add(
            Fault(
                place, f"must be a mapping of dotted settings, got {show(body)}", hint="{} for the defaults"
            )
        )
        body = None
    settings = dict(body or {})
    extends = settings.pop("extends", None)
    if extends is not None and not isinstance(extends, str):
        findings.add(Fault((*place, "extends"), f"must be the name of one variant, got {show(extends)}"))
        extends = None
    return VariantSpec(settings=settings, extends=extends)


def _raw_items(findings: Findings, key: str) -> list[Any]:
    raw = findings.document.data.get(key)
    if raw is None or isinstance(raw, list):
        return raw or []
    findings.add(Fault((key,), f"must be a list, got {show(raw)}", hint=f"{key}: [] for none"))
    return []


def _items(findings: Findings, key: str, model: type[Model]) -> dict[Place, Model]:
    """The items of a list that are right, by their places."""
    found = {
        (key, i): _one(findings, (key, i), model, raw) for i, raw in enumerate(_raw_items(findings, key))
    }
    return {place: item for place, item in found.items() if item is not None}


def _claims(findings: Findings) -> dict[Place, Any]:
    """Each claim by the model of its kind."""
    claims: dict[Place, Any] = {}
    for index, raw in enumerate(_raw_items(findings, "claims")):
        place: Place = ("claims", index)
        kind = raw.get("kind") if isinstance(raw, dict) else None
        if not isinstance(raw, dict):
            findings.add(Fault(place, f"must be a mapping (key: value), got {show(raw)}"))
        elif "kind" not in raw:
            findings.add(Fault((*place, "kind"), "is missing", tuple(CLAIMS)))
        elif not isinstance(kind, str) or kind not in CLAIMS:
            hint = did_you_mean(kind, CLAIMS)
            findings.add(Fault((*place, "kind"), f"{show(kind)} is not allowed here", tuple(CLAIMS), hint))
        else:
            claim = _one(findings, place, CLAIMS[kind], raw)
            if claim is not None:
                claims[place] = claim
    return claims
