"""Pretrainings: networks that are trained first, and the variants that start from their weights.

`model.weights: pretraining:NAME` may stand wherever settings do. What it names exists, has the same backbone,
and does not start, by whatever way, from itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ablate.errors import did_you_mean
from ablate.spec.checks import at
from ablate.spec.dotted import lay_over
from ablate.spec.faults import Fault, Findings
from ablate.spec.generators import Generator, generated_names
from ablate.spec.layers import chain, check_named
from ablate.spec.names import pretraining_of
from ablate.spec.references import circle_of
from ablate.spec.source import Place
from ablate.spec.study import VariantSpec, variant_data
from ablate.spec.tune import Tune
from ablate.spec.words import show

WEIGHTS = "model.weights"
_BACKBONE = "model.backbone"
Specs = Mapping[str, VariantSpec]


def check_pretraining(
    findings: Findings,
    defaults: Mapping[str, Any],
    variants: Specs,
    pretraining: Specs,
    generators: Mapping[Place, Generator],
    tune: Tune | None,
) -> None:
    """Names, `extends` and settings of the pretrainings, and every setting that names one."""
    layers = {**pretraining, **variants}
    _check_names(findings, variants, pretraining, generators)
    _check_extends(findings, layers, pretraining)
    sound = {name for name in pretraining if chain(layers, name)}
    for name in pretraining:
        if name in sound and name not in variants:
            check_named(findings, defaults, layers, name, key="pretraining")
    for place, value in _weights_set(defaults, variants, pretraining, generators, tune):
        _check_reference(findings, place, value, pretraining)
    data = {name: variant_data(defaults, layers, name) for name in layers if chain(layers, name)}
    _check_circles(findings, data, layers, pretraining)
    for place, settings in _settings(data, layers, pretraining, generators):
        _check_backbone(findings, place, settings, data)


def _check_names(
    findings: Findings, variants: Specs, pretraining: Specs, generators: Mapping[Place, Generator]
) -> None:
    generated = generated_names(tuple(generators.values()))
    for name in pretraining:
        if name in variants or name in generated:
            there = f" at {findings.document.where('variants', name)}" if name in variants else ""
            message = f"{show(name)} is the name of a variant{there}"
            findings.add(Fault(("pretraining", name), message, hint="give the pretraining another name"))


def _check_extends(findings: Findings, layers: Specs, pretraining: Specs) -> None:
    circles: set[frozenset[str]] = set()
    for name, spec in pretraining.items():
        place: Place = ("pretraining", name, "extends")
        if spec.extends is not None and spec.extends not in layers:
            message = f"there is no variant and no pretraining {show(spec.extends)}"
            findings.add(Fault(place, message, tuple(layers), did_you_mean(spec.extends, layers)))
            continue
        circle = circle_of(layers, name)
        if circle and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            message = f"goes round in a circle: {' -> '.join([*circle, circle[0]])}"
            hint = "let one of them start from the defaults, without extends"
            findings.add(Fault(place, message, hint=hint))


def _weights_set(
    defaults: Mapping[str, Any],
    variants: Specs,
    pretraining: Specs,
    generators: Mapping[Place, Generator],
    tune: Tune | None,
) -> Iterator[tuple[Place, Any]]:
    """Every value that the file gives to `model.weights`, with its place."""
    yield ("defaults", "model", "weights"), at(defaults, "model", "weights")
    for key, specs in (("variants", variants), ("pretraining", pretraining)):
        for name, spec in specs.items():
            yield (key, name, WEIGHTS), spec.settings.get(WEIGHTS)
    for place, generator in generators.items():
        for cell in generator.cells():
            if WEIGHTS in cell.settings:
                yield (*place, *cell.places[WEIGHTS]), cell.settings[WEIGHTS]
    if tune is not None and WEIGHTS in tune.space:
        for inner, value in tune.space[WEIGHTS].ends():
            yield ("tune", "space", WEIGHTS, inner), value


def _check_reference(findings: Findings, place: Place, value: Any, pretraining: Specs) -> None:
    name = pretraining_of(value)
    if name is None or name in pretraining:
        return
    message = f"there is no pretraining {show(name)}"
    if pretraining:
        findings.add(Fault(place, message, tuple(pretraining), did_you_mean(name, pretraining)), name=WEIGHTS)
        return
    hint = f"add it to the file: pretraining: {{{name or 'NAME'}: {{data.classes: […]}}}}"
    findings.add(Fault(place, f"{message}; the study has none", hint=hint), name=WEIGHTS)


def _place_of(layers: Specs, pretraining: Specs, name: str, keys: tuple[str, ...]) -> Place:
    """Where what a variant or pretraining is comes to have the first of these settings that it is given."""
    for layer in chain(layers, name):
        for key in keys:
            if key in layers[layer].settings:
                return ("pretraining" if layer in pretraining else "variants", layer, key)
    return ("defaults", *keys[0].split("."))


def _check_circles(
    findings: Findings, data: Mapping[str, Mapping[str, Any]], layers: Specs, pretraining: Specs
) -> None:
    """A pretraining that would have to be trained before itself."""
    told: set[frozenset[str]] = set()
    for name in pretraining:
        names = [name]
        while (after := pretraining_of(at(data.get(names[-1]), "model", "weights"))) in pretraining:
            if after in names:
                break
            names.append(str(after))
        if after != name or frozenset(names) in told:
            continue
        told.add(frozenset(names))
        place = _place_of(layers, pretraining, name, (WEIGHTS,))
        way = " -> ".join([*names, name])
        message = f"the pretraining {show(name)} would start from itself: {way}"
        hint = f"set {WEIGHTS}: null in the pretraining that starts from scratch"
        findings.add(Fault(place, message, hint=hint), name=WEIGHTS)


def _settings(
    data: Mapping[str, Mapping[str, Any]],
    layers: Specs,
    pretraining: Specs,
    generators: Mapping[Place, Generator],
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """All that is trained, as plain settings, each with the place that gives it weights or backbone."""
    for name, settings in data.items():
        yield _place_of(layers, pretraining, name, (WEIGHTS, _BACKBONE)), settings
    for place, generator in generators.items():
        if generator.start not in data:
            continue
        for cell in generator.cells():
            own = next((key for key in (WEIGHTS, _BACKBONE) if key in cell.settings), None)
            if own is not None:
                whole = lay_over(data[generator.start], cell.settings)[0]
                yield (*place, *cell.places[own]), whole


def _check_backbone(
    findings: Findings, place: Place, settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any]]
) -> None:
    name = pretraining_of(at(settings, "model", "weights"))
    if name is None or name not in data:
        return
    mine, theirs = (at(each, "model", "backbone") or "cnn" for each in (settings, data[name]))
    if mine != theirs:
        message = f"the backbone here is {show(mine)}, but the pretraining {show(name)} trains {show(theirs)}"
        findings.add(Fault(place, message, hint="give both the same model.backbone"), name=WEIGHTS)
