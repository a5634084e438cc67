"""The settings of every variant, generated cell and search range, checked where they are written.

Each is a layer of dotted settings on a base. A fault is reported for the layer that brings it about: one that
the base has already was reported there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.spec.checks import at, check_settings
from ablate.spec.dotted import lay_over
from ablate.spec.faults import Fault, Findings
from ablate.spec.generators import Generator
from ablate.spec.source import Place, dotted
from ablate.spec.study import VariantSpec, variant_data
from ablate.spec.sweeps import Design
from ablate.spec.tune import Tune


def check_layers(
    findings: Findings,
    defaults: Mapping[str, Any],
    variants: Mapping[str, VariantSpec],
    generators: Mapping[Place, Generator],
    tune: Tune | None,
) -> None:
    """Everything that sets settings, but variants whose `extends` leads nowhere: see `references`."""
    for fault in check_settings(defaults):
        findings.add(fault, ("defaults", *fault.place), name=dotted(fault.place))
    sound = {name for name in variants if chain(variants, name)}
    for name in variants:
        if name in sound:
            check_named(findings, defaults, variants, name, key="variants")
    for place, generator in generators.items():
        if generator.start in sound:
            _check_generator(findings, place, generator, variant_data(defaults, variants, generator.start))
    if tune is not None and (tune.start is None or tune.start in sound):
        base = dict(defaults) if tune.start is None else variant_data(defaults, variants, tune.start)
        _check_tune(findings, tune, base)


def chain(variants: Mapping[str, VariantSpec], name: str) -> tuple[str, ...]:
    """The variant, what it extends, and so on; empty if the chain is circular or ends at no variant."""
    names: list[str] = []
    current: str | None = name
    while current is not None:
        if current in names or current not in variants:
            return ()
        names.append(current)
        current = variants[current].extends
    return tuple(names)


def faults_of_layer(base: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the settings on this base that is not wrong with the base."""
    data, faults = lay_over(base, settings)
    known = check_settings(base)
    return faults + [fault for fault in check_settings(data) if fault not in known]


def _own_key(fault: Fault, settings: Mapping[str, Any]) -> str | None:
    """The key of the layer that the fault lies at, within, or above; None for a fault between settings."""
    related = []
    for key in settings:
        parts = tuple(key.split("."))
        common = min(len(parts), len(fault.place))
        if parts[:common] == fault.place[:common]:
            related.append(key)
    if related:
        return max(related, key=len)
    return next(iter(settings)) if len(settings) == 1 else None


def check_named(
    findings: Findings, defaults: Mapping[str, Any], specs: Mapping[str, VariantSpec], name: str, *, key: str
) -> None:
    """One variant, or whatever else stands by name under `key`; `specs` holds all that it may extend."""
    spec = specs[name]
    base = defaults if spec.extends is None else variant_data(defaults, specs, spec.extends)
    for fault in faults_of_layer(base, spec.settings):
        setting = _own_key(fault, spec.settings)
        own: Place = () if setting is None else (setting, *fault.place[len(setting.split(".")) :])
        findings.add(fault, (key, name, *own), name=f"{key}.{name}: {dotted(fault.place)}")


def _check_generator(findings: Findings, place: Place, generator: Generator, base: Mapping[str, Any]) -> None:
    for cell in generator.cells():
        for fault in faults_of_layer(base, cell.settings):
            key = _own_key(fault, cell.settings)
            inner: Place = ()
            if key is not None:
                inner = generator.key_place(key) if fault.of_key else cell.places[key]
            hint = fault.hint
            if isinstance(generator, Design) and not fault.of_key:
                hint = "a switch is a setting that is true or false"
            found = Fault(fault.place, fault.message, fault.allowed, hint)
            findings.add(found, (*place, *inner), name=f"{dotted(place)}: {dotted(fault.place)}")


def _check_tune(findings: Findings, tune: Tune, base: Mapping[str, Any]) -> None:
    for fault in faults_of_layer(base, tune.overrides):
        setting = _own_key(fault, tune.overrides)
        own: Place = () if setting is None else (setting, *fault.place[len(setting.split(".")) :])
        findings.add(fault, ("tune", "set", *own), name=f"tune.set: {dotted(fault.place)}")
    base = lay_over(base, tune.overrides)[0]
    for key, dimension in tune.space.items():
        for inner, value in dimension.ends():
            for fault in _faults_in_search(tune, base, key, value):
                place = ("tune", "space", key) if fault.of_key else ("tune", "space", key, inner)
                findings.add(fault, place, name=f"tune.space: {dotted(fault.place)}")


def _faults_in_search(tune: Tune, base: Mapping[str, Any], key: str, value: Any) -> list[Fault]:
    """An argument may be searched that only some of the mechanisms searched have."""
    owner = key.split(".args.")[0] if ".args." in key else ""
    chooser = {"model": "model.backbone", "": ""}.get(owner, f"{owner}.name")
    names = tune.space[chooser].values if chooser in tune.space else None
    if names is None:
        faults = faults_of_layer(base, {key: value})
        is_name = key in ("model.backbone", "model.attention.name", "train.optimizer.name")
        return [fault for fault in faults if not (is_name and fault.of_key and "args" in fault.place)]
    outcomes = [faults_of_layer(_with_name(base, chooser, name), {key: value}) for name in names]
    return min(outcomes, key=len)


def _with_name(base: Mapping[str, Any], chooser: str, name: Any) -> dict[str, Any]:
    """The base with another mechanism chosen, without the arguments of the one before."""
    args = "model.args" if chooser == "model.backbone" else chooser.replace(".name", ".args")
    settings: dict[str, Any] = {chooser: name}
    if at(base, *args.split(".")) is not None:
        settings[args] = {}
    return lay_over(base, settings)[0]
