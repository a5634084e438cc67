"""Dotted settings, `model.attention.args.reduction: 4`: which there are, and laying them over settings."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from ablate.errors import did_you_mean
from ablate.spec.catalogue import ATTENTION, BACKBONES, OPTIMIZERS
from ablate.spec.faults import Fault
from ablate.spec.settings import Settings
from ablate.spec.source import Place, dotted

SECTIONS = tuple(Settings.model_fields)


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a mapping as a user writes them -> their annotations."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X | None`, `Annotated[X, ...]` or `tuple[X, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next((found for part in inner if (found := model_in(part)) is not None), None)


def holds(annotation: Any, kind: type) -> bool:
    """Whether the annotation is `kind`, or that or null."""
    return get_origin(annotation) is kind or any(holds(part, kind) for part in _union(annotation))


def _union(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[:1]
    return get_args(annotation) if get_origin(annotation) not in (tuple, dict, list, None) else ()


@cache
def known_keys() -> tuple[str, ...]:
    """Every dotted key that exists, with the arguments of all mechanisms, backbones and optimisers."""
    keys = list(_walk(Settings, ""))
    for prefix, entries in (
        ("model.args", BACKBONES.values()),
        ("model.attention.args", ATTENTION.values()),
        ("train.optimizer.args", OPTIMIZERS.values()),
    ):
        keys += [f"{prefix}.{name}" for entry in entries for name in entry.args]
    return tuple(dict.fromkeys(keys))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, annotation in keys_of(model).items():
        if prefix:
            yield prefix + name
        inner = None if holds(annotation, tuple) else model_in(annotation)
        if inner is not None:
            yield from _walk(inner, f"{prefix}{name}.")


def nearest_key(key: str, keys: Sequence[str] | None = None) -> str:
    """A hint at the existing key that was probably meant: by its last part, or by spelling."""
    keys = known_keys() if keys is None else keys
    same_end = [known for known in keys if known.endswith(f".{key}")]
    if same_end:
        return f"did you mean {same_end[0]!r}?"
    near = did_you_mean(key, keys)
    if near:
        return near
    ends = {known.rsplit(".", 1)[-1]: known for known in reversed(keys)}
    nearest = difflib.get_close_matches(key.rsplit(".", 1)[-1], ends, n=1, cutoff=0.75)
    return f"did you mean {ends[nearest[0]]!r}?" if nearest else ""


def check_key(key: str) -> Fault | None:
    """The fault of a dotted key that no settings could have, or None."""
    parts = tuple(key.split("."))
    model: type[BaseModel] = Settings
    for depth, part in enumerate(parts):
        keys = keys_of(model)
        rest = parts[depth + 1 :]
        if part not in keys:
            return Fault(parts, "no such setting", tuple(keys), nearest_key(key), of_key=True)
        if not rest:
            break
        annotation = keys[part]
        if holds(annotation, dict):
            return None if all(rest) else Fault(parts, "no such setting: a dot too many", of_key=True)
        inner = model_in(annotation)
        if inner is None or holds(annotation, tuple):
            so_far = ".".join(parts[: depth + 1])
            return Fault(
                parts, f"no such setting: {so_far} has no keys", hint=f"set {so_far} as a whole", of_key=True
            )
        model = inner
    if len(parts) == 1:
        first = next(known for known in known_keys() if known.startswith(f"{key}."))
        hint = f"write dotted settings, such as {first!r}"
        return Fault(parts, "a whole section cannot be set at once", hint=hint, of_key=True)
    return None


def lay_over(base: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """`base` (plain, nested) with dotted settings laid over it, and the faults of keys that could not be.

    The value of a key replaces what was there as a whole. Shorter keys come first, so the order in the file
    does not matter: `model.attention: {...}` and then `model.attention.args.reduction: 4`.
    """
    data: dict[str, Any] = copy.deepcopy(dict(base))
    faults = []
    for key in sorted(settings, key=lambda key: (key.count("."), key)):
        fault = check_key(key)
        if fault is None and not _set(data, key.split("."), settings[key]):
            continue  # a parent is malformed, which has its own fault
        if fault is not None:
            faults.append(fault)
    faults += _without_attention(data, base, settings)
    return data, faults


def _set(data: dict[str, Any], parts: list[str], value: Any) -> bool:
    node = data
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            return False
    node[parts[-1]] = copy.deepcopy(value)
    return True


def _without_attention(
    data: dict[str, Any], base: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Fault]:
    """A part of an attention that is null has nothing to belong to, unless name and place come with it."""
    prefix = "model.attention."
    parts = [key for key in settings if key.startswith(prefix) and check_key(key) is None]
    model, model_before = data.get("model"), base.get("model")
    if not parts or not isinstance(model, dict):
        return []
    before = model_before.get("attention") if isinstance(model_before, Mapping) else None
    attention = model.get("attention")
    if before is not None or "model.attention" in settings or not isinstance(attention, dict):
        return []
    if "name" in attention and "at" in attention:
        return []
    model["attention"] = None
    hint = "give a whole one: model.attention: {name: se, at: [block1]}, or start from a variant that has one"
    return [
        Fault(
            tuple(key.split(".")),
            "there is no attention here to set this of: model.attention is null",
            hint=hint,
            of_key=True,
        )
        for key in parts
    ]


def leaves(data: Any, prefix: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The innermost values of nested mappings, each with its place; an empty mapping is a leaf."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, (*prefix, key))
    else:
        yield prefix, data


def flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as dotted ones."""
    return {dotted(place): value for place, value in leaves(data)}
