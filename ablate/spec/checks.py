"""One variant's settings held against types, ranges and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ablate.errors import did_you_mean
from ablate.spec.catalogue import (
    ATTENTION,
    BACKBONES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    Argument,
)
from ablate.spec.faults import Fault
from ablate.spec.names import glob_fault, is_import_path, is_library_name
from ablate.spec.settings import Settings
from ablate.spec.source import Place
from ablate.spec.validation import faults_in
from ablate.spec.words import show

OWN = "package.module:name"
# Where a value of the wrong kind has one likely meaning.
_MEANT: dict[Place, str] = {
    ("train", "lr"): "one rate for everything is train.optimizer.lr; train.lr is {glob: rate}",
}
GLOB_HINT = "paths such as 'block1' or 'features.4'; globs with *, ?, ** and [12]"


def check_settings(data: Mapping[str, Any]) -> list[Fault]:
    """All faults of one variant's settings, plain and nested; malformed parts are not looked into."""
    faults = []
    try:
        Settings.model_validate(dict(data))
    except ValidationError as error:
        faults += [
            replace(fault, hint=fault.hint or _MEANT.get(fault.place, ""))
            for fault in faults_in(error, Settings)
        ]
    bad = {fault.place for fault in faults}
    more = [*_source(data), *_backbone(data), *_attention(data), *_train(data)]
    return faults + [fault for fault in more if fault.place not in bad]


def at(data: Any, *place: str) -> Any:
    """The value at a place of nested mappings, None where there is none."""
    for part in place:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _source(data: Mapping[str, Any]) -> Iterator[Fault]:
    place = ("data", "source")
    name = at(data, *place)
    if not isinstance(name, str) or is_import_path(name):
        return
    if name not in SOURCES:
        allowed = (*SOURCES, "package.module:function")
        yield Fault(place, f"{show(name)} is no source of images", allowed, did_you_mean(name, SOURCES))
    elif SOURCES[name].needs_root and not at(data, "data", "root"):
        hint = "set data.root to the folder that holds train/ and test/"
        yield Fault(place, f"the source {name!r} needs data.root, which is null", hint=hint)


def _backbone(data: Mapping[str, Any]) -> Iterator[Fault]:
    name = at(data, "model", "backbone")
    if not isinstance(name, str):
        name = "cnn" if name is None else ""
    if name in BACKBONES:
        yield from _arguments(
            at(data, "model", "args"), BACKBONES[name].args, ("model", "args"), f"backbone {name!r}"
        )
    elif name and not is_import_path(name) and not is_library_name(name):
        allowed = (*BACKBONES, "torchvision:NAME", "timm:NAME", "package.module:function")
        yield Fault(
            ("model", "backbone"), f"{show(name)} is no backbone", allowed, did_you_mean(name, BACKBONES)
        )


def _attention(data: Mapping[str, Any]) -> Iterator[Fault]:
    place = ("model", "attention")
    name = at(data, *place, "name")
    if isinstance(name, str):
        if name in ATTENTION:
            entry = ATTENTION[name]
            yield from _arguments(
                at(data, *place, "args"), entry.args, (*place, "args"), f"attention {name!r}"
            )
        elif not is_import_path(name) and not is_library_name(name, ("timm",)):
            allowed = (*ATTENTION, "timm:NAME", "package.module:Class")
            hint = did_you_mean(name, ATTENTION) or "for none, write model.attention: null"
            yield Fault((*place, "name"), f"{show(name)} is no attention mechanism", allowed, hint)
        gate = at(data, *place, "gate")
        if gate in ("static", "shuffled") and name in ATTENTION and not ATTENTION[name].gates:
            gating = ", ".join(known for known, entry in ATTENTION.items() if entry.gates)
            message = f"the attention {name!r} has no gates, got {show(gate)}"
            yield Fault((*place, "gate"), message, ("own",), f"mechanisms that gate: {gating}")
    yield from _globs(at(data, *place, "at"), (*place, "at"))


def _globs(value: Any, place: Place) -> Iterator[Fault]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        return
    for index, glob in enumerate(values):
        fault = glob_fault(glob) if isinstance(glob, str) else ""
        if fault:
            where = place if isinstance(value, str) else (*place, index)
            yield Fault(where, f"the place {show(glob)} {fault}", (GLOB_HINT,))


def _train(data: Mapping[str, Any]) -> Iterator[Fault]:
    train = at(data, "train")
    yield from _optimizer(at(train, "optimizer"), ("train", "optimizer"))
    steps, stages = at(train, "steps"), at(train, "stages")
    epochs = None if steps is not None or stages else at(train, "epochs")
    yield from _schedule(at(train, "schedule"), ("train", "schedule"), epochs)
    yield from _rates(at(train, "lr"), ("train", "lr"))
    for key in ("steps", "lr"):
        if stages and at(train, key):
            message = f"has no meaning beside train.stages, got {show(at(train, key))}"
            yield Fault(("train", key), message, hint="each stage has its own epochs and lr")
    accumulate, batch_size = at(train, "accumulate"), at(train, "batch_size")
    batch_size = 128 if batch_size is None else batch_size
    if isinstance(accumulate, int) and isinstance(batch_size, int) and accumulate > batch_size:
        message = f"must be at most the batch size, {batch_size}, got {accumulate}"
        yield Fault(("train", "accumulate"), message, hint="a part of a step holds at least one image")
    elif _lone_images(data, accumulate, batch_size):
        message = "a shuffled gate takes that of another image, but each part of a step holds one image alone"
        yield Fault(
            ("model", "attention", "gate"), message, hint="raise train.batch_size or lower train.accumulate"
        )
    for index, stage in enumerate(stages if isinstance(stages, list | tuple) else ()):
        place = ("train", "stages", index)
        yield from _globs(at(stage, "train"), (*place, "train"))
        yield from _rates(at(stage, "lr"), (*place, "lr"))
        yield from _optimizer(at(stage, "optimizer"), (*place, "optimizer"))
        yield from _schedule(at(stage, "schedule"), (*place, "schedule"), at(stage, "epochs"))


def _lone_images(data: Mapping[str, Any], accumulate: Any, batch_size: Any) -> bool:
    """Whether a shuffled gate would find no other image beside its own."""
    parts = 1 if accumulate is None else accumulate
    numbers = isinstance(parts, int) and isinstance(batch_size, int) and parts > 0
    return at(data, "model", "attention", "gate") == "shuffled" and numbers and batch_size // parts < 2


def _rates(rates: Any, place: Place) -> Iterator[Fault]:
    """Globs as keys; the rates themselves are pydantic's to check."""
    for glob in rates if isinstance(rates, Mapping) else ():
        yield from _globs(glob, (*place, glob))


def _optimizer(optimizer: Any, place: Place) -> Iterator[Fault]:
    name = at(optimizer, "name")
    name = "adam" if name is None and isinstance(optimizer, Mapping) else name
    if not isinstance(name, str):
        return
    if name not in OPTIMIZERS:
        hint = did_you_mean(name.lower(), OPTIMIZERS)
        yield Fault((*place, "name"), f"{show(name)} is no optimizer", tuple(OPTIMIZERS), hint)
        return
    entry, args = OPTIMIZERS[name], at(optimizer, "args")
    yield from _arguments(args, entry.args, (*place, "args"), f"optimizer {name!r}")
    if not entry.weight_decay and at(optimizer, "weight_decay"):
        message = f"the optimizer {name!r} has no weight decay, got {show(at(optimizer, 'weight_decay'))}"
        yield Fault((*place, "weight_decay"), message, ("0",))
    if at(args, "nesterov") is True and (not at(args, "momentum") or at(args, "dampening")):
        message = "true needs a momentum greater than 0 and a dampening of 0"
        yield Fault((*place, "args", "nesterov"), message, hint="add momentum: 0.9")
    ascending = [
        ("etas", "two numbers around 1: the first below, the second above"),
        ("step_sizes", "ascending"),
    ]
    for key, wanted in ascending if name == "rprop" else ():
        pair = at(args, key)
        if (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(x, int | float) for x in pair)
        ):
            wrong = not pair[0] < 1 < pair[1] if key == "etas" else not pair[0] <= pair[1]
            if wrong:
                yield Fault((*place, "args", key), f"must be {wanted}, got {show(pair)}")


def _schedule(schedule: Any, place: Place, epochs: Any) -> Iterator[Fault]:
    name = at(schedule, "name")
    name = "constant" if name is None and isinstance(schedule, Mapping) else name
    if not isinstance(name, str):
        return
    if name not in SCHEDULES:
        yield Fault(
            (*place, "name"), f"{show(name)} is no schedule", tuple(SCHEDULES), did_you_mean(name, SCHEDULES)
        )
        return
    owner = {key: other for other, keys in SCHEDULES.items() for key in keys}
    for key, value in schedule.items():
        if key in owner and owner[key] != name and value is not None:
            hint = (
                f"it belongs to {owner[key]!r}; set train.schedule as a whole to change to another schedule"
            )
            message = f"the schedule {name!r} has no {key!r}"
            yield Fault(
                (*place, key), message, tuple(SCHEDULES[name]) or ("no key but name",), hint, of_key=True
            )
    warmup = schedule.get("warmup")
    numbers = isinstance(warmup, int | float) and isinstance(epochs, int)
    if name == "cosine" and numbers and warmup >= epochs:
        yield Fault(
            (*place, "warmup"), f"must be less than the {epochs} epochs of training, got {show(warmup)}"
        )


def _arguments(args: Any, catalogued: Mapping[str, Argument], place: Place, owner: str) -> Iterator[Fault]:
    if not isinstance(args, Mapping):
        return
    for name, value in args.items():
        if name not in catalogued:
            allowed = tuple(catalogued) or ("none",)
            hint = did_you_mean(name, catalogued)
            yield Fault((*place, name), f"the {owner} has no argument {name!r}", allowed, hint, of_key=True)
            continue
        choices = catalogued[name].choices
        if choices and isinstance(value, str) and value not in choices:
            hint = did_you_mean(value, choices)
            yield Fault((*place, name), f"{show(value)} is no {name}", choices, hint)
            continue
        wanted = _misfit(value, catalogued[name])
        if wanted:
            yield Fault((*place, name), f"must be {wanted}, got {show(value)}")


def _misfit(value: Any, argument: Argument) -> str:
    """What the value should have been, or an empty string when it fits."""
    if value is None and argument.optional:
        return ""
    if argument.length is not None:
        fits = isinstance(value, list | tuple) and len(value) == argument.length
        defaults = argument.default
        if fits and all(
            (v is None and d is None) or _fits(v, argument) for v, d in zip(value, defaults, strict=True)
        ):
            return ""
        return f"a list of {argument.length} numbers{_range(argument)}"
    if _fits(value, argument):
        return ""
    kinds = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    kind = "an odd whole number" if argument.odd else kinds[argument.kind]
    if argument.choices:
        kind = f"one of {', '.join(argument.choices)}"
    return kind + _range(argument) + (", or null" if argument.optional else "")


def _fits(value: Any, argument: Argument) -> bool:
    types: dict[str, Any] = {"int": int, "float": int | float, "bool": bool, "str": str}
    if not isinstance(value, types[argument.kind]) or (isinstance(value, bool) and argument.kind != "bool"):
        return False
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    return (
        (argument.minimum is None or value >= argument.minimum)
        and (argument.maximum is None or value <= argument.maximum)
        and (argument.above is None or value > argument.above)
        and (argument.below is None or value < argument.below)
        and (not argument.odd or value % 2 == 1)
    )


def _range(argument: Argument) -> str:
    bounds = [
        f"{words} {limit:g}"
        for words, limit in (
            ("of at least", argument.minimum),
            ("greater than", argument.above),
            ("of at most", argument.maximum),
            ("less than", argument.below),
        )
        if limit is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
