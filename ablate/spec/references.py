"""What one part of a study says of another: baseline, extends, from, names in controls, claims, tune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from ablate.errors import did_you_mean
from ablate.spec.claims import Claim, Interaction, Metric, Trend
from ablate.spec.faults import Fault, Findings
from ablate.spec.generators import Generator, generated_names
from ablate.spec.names import variant_name_fault
from ablate.spec.source import Place
from ablate.spec.study import Control, VariantSpec
from ablate.spec.sweeps import Design, Sweep
from ablate.spec.tune import Tune
from ablate.spec.words import show


def check_variant_names(findings: Findings, baseline: Any, variants: Mapping[str, VariantSpec]) -> None:
    """The baseline exists; `extends` leads from variant to variant and comes to an end."""
    if isinstance(baseline, str) and variants:
        _must_exist(findings, ("baseline",), baseline, variants)
    circles: set[frozenset[str]] = set()
    for name, spec in variants.items():
        place: Place = ("variants", name, "extends")
        if spec.extends is None:
            continue
        if spec.extends not in variants:
            _must_exist(findings, place, spec.extends, variants)
            continue
        circle = circle_of(variants, name)
        if circle and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            message = f"goes round in a circle: {' -> '.join([*circle, circle[0]])}"
            findings.add(
                Fault(place, message, hint="let one of them start from the defaults, without extends")
            )


def circle_of(variants: Mapping[str, VariantSpec], name: str) -> list[str]:
    """The circle of `extends` that the variant is part of, starting with it."""
    names = [name]
    current = variants[name].extends
    while current is not None and current in variants:
        if current == name:
            return names
        if current in names:
            return []  # it leads into a circle that is another's
        names.append(current)
        current = variants[current].extends
    return []


def check_generators(
    findings: Findings, variants: Mapping[str, VariantSpec], generators: Mapping[Place, Generator]
) -> None:
    """Each starts from a variant, and no two sweeps of one variant have the same name."""
    seen: dict[tuple[str, str], Place] = {}
    for place, generator in generators.items():
        _must_exist(findings, (*place, "from"), generator.start, variants)
        if isinstance(generator, Sweep):
            key = (generator.start, generator.name)
            if key in seen:
                where = findings.document.where(*seen[key])
                message = f"the sweep {generator.name!r} of {generator.start!r} stands at {where} already"
                findings.add(
                    Fault((*place, "as"), message, hint="join their values, or give one another name by `as`")
                )
            seen.setdefault(key, place)


def check_users(
    findings: Findings,
    variants: Mapping[str, VariantSpec],
    generators: Mapping[Place, Generator],
    *,
    controls: Mapping[Place, Control],
    claims: Mapping[Place, Claim],
    tune: Tune | None,
) -> None:
    """The names in controls, claims and tune. To be called when all that makes variants could be read."""
    names = tuple(dict.fromkeys((*variants, *generated_names(tuple(generators.values())))))
    comparable = (*names, *_check_controls(findings, controls, names))
    ids: dict[str, Place] = {}
    for place, claim in claims.items():
        if claim.id in ids:
            where = findings.document.where(*ids[claim.id])
            findings.add(Fault((*place, "id"), f"the claim {claim.id!r} stands at {where} already"))
        ids.setdefault(claim.id, place)
        for inner, name in claim.variants_named():
            _must_exist(findings, (*place, *inner), name, comparable)
        if isinstance(claim, Trend):
            _check_trend(findings, place, claim, [x for x in generators.values() if isinstance(x, Sweep)])
        if isinstance(claim, Interaction):
            _check_interaction(
                findings, place, claim, [x for x in generators.values() if isinstance(x, Design)]
            )
    if tune is not None:
        _check_tune(findings, tune, variants, names)


def check_trains(findings: Findings, claims: Mapping[Place, Claim], tune: Tune | None) -> None:
    """Of a study of costs alone: nothing may ask for an accuracy."""
    for place, claim in claims.items():
        if claim.metric == "accuracy":
            message = f"the claim {claim.id!r} is about accuracy, and with seeds: 0 nothing is trained"
            costs = tuple(name for name in get_args(Metric) if name != "accuracy")
            findings.add(Fault((*place, "metric"), message, costs))
    if tune is not None:
        message = "with seeds: 0 nothing is trained, and what a search finds would never be judged"
        findings.add(Fault(("tune",), message, hint="give the study seeds, or leave tune out"))


def check_tuning_seeds(findings: Findings, tune: Tune, reported: tuple[int, ...]) -> None:
    """A seed that took part in the choice would favour what was chosen."""
    both = [seed for seed in tune.seeds or () if seed in reported]
    if both:
        message = (
            f"{', '.join(map(str, both))} {'are' if len(both) > 1 else 'is'} among the seeds of the study"
        )
        hint = "leave it out, or name seeds that the study does not report"
        findings.add(Fault(("tune", "seeds"), message, hint=hint))


def _check_tune(
    findings: Findings, tune: Tune, variants: Mapping[str, VariantSpec], names: tuple[str, ...]
) -> None:
    if tune.start is not None:
        _must_exist(findings, ("tune", "from"), tune.start, variants)
    for index, name in enumerate(tune.also):
        _must_exist(findings, ("tune", "also", index), name, names)


def _check_controls(
    findings: Findings, controls: Mapping[Place, Control], names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names of the variants that controls add: each new, and fit to be a name."""
    added: dict[str, Place] = {}
    baseline = findings.document.data.get("baseline")
    for place, control in controls.items():
        _must_exist(findings, (*place, "to"), control.to, names)
        name = control.name(str(baseline))
        if control.to == baseline:
            findings.add(
                Fault((*place, "to"), f"{show(control.to)} is the baseline itself", hint="name a variant")
            )
        elif name in added:
            findings.add(Fault(place, f"stands at {findings.document.where(*added[name])} already"))
        elif name in names:
            hint = "rename the variant that has this name"
            findings.add(Fault(place, f"adds a variant {show(name)}, but there is one already", hint=hint))
        elif control.to in names and (fault := variant_name_fault(name)):
            hint = f"shorten the name of {show(baseline)} or of {show(control.to)}"
            findings.add(Fault(place, f"adds a variant {show(name)}, whose name {fault}", hint=hint))
        added.setdefault(name, place)
    return tuple(added)


def _must_exist(findings: Findings, place: Place, name: str, names: Iterable[str]) -> None:
    names = tuple(names)
    if name not in names:
        allowed = names if len(names) <= 20 else (*names[:20], f"… ({len(names)} in all)")
        findings.add(Fault(place, f"there is no variant {show(name)}", allowed, did_you_mean(name, names)))


def _check_trend(findings: Findings, place: Place, claim: Trend, sweeps: list[Sweep]) -> None:
    named = [sweep for sweep in sweeps if sweep.name == claim.over]
    if not named:
        known = tuple(dict.fromkeys(sweep.name for sweep in sweeps))
        hint = did_you_mean(claim.over, known)
        findings.add(
            Fault((*place, "over"), f"there is no sweep {show(claim.over)}", known or ("no sweep is",), hint)
        )
        return
    starts = tuple(sweep.start for sweep in named)
    if claim.of is not None and claim.of not in starts:
        message = f"no sweep {claim.over!r} starts from {show(claim.of)}"
        findings.add(Fault((*place, "of"), message, starts, did_you_mean(claim.of, starts)))
        return
    chosen = [sweep for sweep in named if claim.of in (None, sweep.start)]
    if len(chosen) > 1:
        message = f"several sweeps are called {claim.over!r}"
        findings.add(Fault((*place, "over"), message, hint=f"say which one: of: {starts[0]}"))
    elif not chosen[0].numeric:
        labels = tuple(level.label for level in chosen[0].levels)
        message = f"a trend needs numbers, but {claim.over!r} has {show(labels)}"
        findings.add(
            Fault((*place, "over"), message, hint="claim a difference between two of its variants instead")
        )


def _check_interaction(findings: Findings, place: Place, claim: Interaction, designs: list[Design]) -> None:
    factorials = [design for design in designs if design.kind in ("factorial", "chain")]
    wanted = {*claim.of, *claim.within}
    if any(wanted <= set(design.factors) for design in factorials):
        return
    factors = tuple(dict.fromkeys(factor for design in factorials for factor in design.factors))
    if not factors:
        hint = "add one under designs: {kind: factorial, from: …, switches: {…}}"
        findings.add(
            Fault((*place, "of"), "an interaction needs a factorial design, and there is none", hint=hint)
        )
        return
    unknown = [name for name in (*claim.of, *claim.within) if name not in factors]
    if not unknown:
        names = ", ".join(sorted(wanted))
        findings.add(Fault((*place, "of"), f"no single factorial design has all of {names}"))
    for name in unknown:
        inner: Place = ("within", name) if name in claim.within else ("of", claim.of.index(name))
        message = f"no factorial design has the factor {show(name)}"
        findings.add(Fault((*place, *inner), message, factors, did_you_mean(name, factors)))
