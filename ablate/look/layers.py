"""Which layers of a network are shown, by path or glob.

A module of the backbone goes by its own path (`block1`, `features.30`), one inside an attention module by
``attention.`` + the path that it sits at + its own (`attention.block2.multi_scale.conv3`). Globs are those of
places: ``*`` and ``?`` stop at a dot, ``**`` crosses dots.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ablate.look.errors import LookError
from ablate.models import Network, PlaceError
from ablate.models.attach import find_places
from ablate.models.dry_run import run_copy
from ablate.spec.names import glob_regex

MAX_DEFAULT = 5


def modules_by_name(network: Network) -> dict[str, nn.Module]:
    """Every module that can be named; one that is reachable by two paths goes by the first."""
    named = {path: module for path, module in network.backbone.named_modules() if path}
    for place, module in attached_modules(network).items():
        for path, inner in module.named_modules():
            named.setdefault(f"attention.{place}.{path}".rstrip("."), inner)
    return named


def attached_modules(network: Network) -> dict[str, nn.Module]:
    """{place: attention module}."""
    return {spot.path: network.attention[spot.path.replace(".", "/")] for spot in network.attached}


def choose_layers(
    networks: Mapping[str, Network], patterns: Sequence[str], image_shape: Sequence[int]
) -> dict[str, tuple[str, ...]]:
    """{variant: the layers shown of it}.

    networks: of each variant, also on the meta device. patterns: where empty, the places where attention sits
    in any variant, or, without attention, the last map of each size. Raises LookError for a pattern that
    names no feature map in any of them.
    """
    if not patterns:
        places = [spot.path for network in networks.values() for spot in network.attached]
        wanted = list(dict.fromkeys(places)) or list(
            _last_of_each_size(next(iter(networks.values())), image_shape)
        )
        wanted = _thinned(wanted)
        return {
            name: tuple(path for path in wanted if path in modules_by_name(network))
            for name, network in networks.items()
        }
    hits = dict.fromkeys(patterns, False)
    found: dict[str, tuple[str, ...]] = {}
    for name, network in networks.items():
        named = modules_by_name(network)
        matched: dict[str, str] = {}
        for pattern in patterns:
            regex = glob_regex(pattern)
            for path in [pattern] if pattern in named else [path for path in named if regex.fullmatch(path)]:
                matched.setdefault(path, pattern)
        maps = feature_maps(network, list(matched), image_shape)
        for path in maps:
            hits[matched[path]] = True
        order = list(named)
        found[name] = tuple(sorted(maps, key=order.index))
    for pattern, hit in hits.items():
        if not hit:
            raise LookError(_nothing(pattern, networks, image_shape))
    return found


def feature_maps(network: Network, paths: Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Those of `paths` that give one feature map (B, C, H, W) in a forward."""
    named = modules_by_name(network)
    paths = [path for path in paths if path in named]
    backbone = dict(network.backbone.named_modules())
    own = [path for path in paths if path in backbone]
    unfit = set()
    try:
        if own:
            find_places(network.backbone, own, image_shape)
    except PlaceError as error:
        unfit = {fault.path or fault.pattern for fault in error.faults}
    inner = [path for path in paths if path not in backbone]
    given = _outputs_inside(network, inner, image_shape) if inner else {}
    fit = {path for path in own if path not in unfit}
    fit |= {path for path in inner if len(given[path]) == 1 and _is_map(given[path][0])}
    return [path for path in paths if path in fit]


def _outputs_inside(
    network: Network, paths: Sequence[str], image_shape: Sequence[int]
) -> dict[str, list[object]]:
    """{path inside an attention module: its outputs in one forward}."""
    keys = {f"attention.{spot.path}": f"attention.{spot.path.replace('.', '/')}" for spot in network.attached}
    real = {}
    for path in paths:
        start = max((start for start in keys if path == start or path.startswith(f"{start}.")), key=len)
        real[path] = keys[start] + path.removeprefix(start)
    _, outputs = run_copy(network, (2, *image_shape), tuple(real.values()))
    return {path: outputs[own] for path, own in real.items()}


def _is_map(output: object) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4


def last_maps(network: Network, image_shape: Sequence[int]) -> dict[tuple[int, int], str]:
    """{(H, W): the last module that gives a map of that size}, in the order of the forward.

    Of several that give the same map, one inside the other, the outermost. A map that grew again is none of
    them: an adaptive pool repeats the few positions that there were.
    """
    seen: dict[tuple[int, int], str] = {}
    paths = [path for path, _ in network.backbone.named_modules() if path]
    order: list[str] = []

    def observe(copy: nn.Module) -> torch.utils.hooks.RemovableHandle:
        for path in paths:
            copy.get_submodule(path).register_forward_hook(lambda *_, path=path: order.append(path))
        return torch.no_grad()

    _, outputs = run_copy(network.backbone, (2, *image_shape), tuple(paths), observe)
    for path in order:
        given = outputs[path]
        if len(given) == 1 and _is_map(given[0]) and 0 not in given[0].shape:
            size = tuple(given[0].shape[2:])
            if all(size[0] * size[1] <= high * wide for high, wide in seen):
                seen[size] = path
    fit = feature_maps(network, list(seen.values()), image_shape) if seen else []
    return {size: path for size, path in seen.items() if path in fit}


def _last_of_each_size(network: Network, image_shape: Sequence[int]) -> list[str]:
    sizes = last_maps(network, image_shape)
    return [path for (high, wide), path in sizes.items() if high * wide > 1] or list(sizes.values())


def cam_layer(network: Network, image_shape: Sequence[int]) -> str | None:
    """The last feature map with more than one position, where class activation still has a place."""
    sizes = last_maps(network, image_shape)
    return next((path for (high, wide), path in reversed(sizes.items()) if high * wide > 1), None)


def _thinned(paths: list[str]) -> list[str]:
    """At most MAX_DEFAULT, evenly spaced, the last among them."""
    if len(paths) <= MAX_DEFAULT:
        return paths
    step = (len(paths) - 1) / (MAX_DEFAULT - 1)
    return [paths[round(index * step)] for index in range(MAX_DEFAULT)]


def _nothing(pattern: str, networks: Mapping[str, Network], image_shape: Sequence[int]) -> str:
    every = list(dict.fromkeys(path for network in networks.values() for path in modules_by_name(network)))
    regex = glob_regex(pattern)
    matched = [path for path in every if path == pattern or regex.fullmatch(path)]
    if matched:
        shown = ", ".join(matched[:4])
        return f"--layers {pattern!r}: no feature map (B, C, H, W), once in a forward, comes from {shown}"
    nearest = difflib.get_close_matches(pattern, every, n=3, cutoff=0.5)
    if nearest:
        return f"--layers: no module matches {pattern!r}\n    nearest: {', '.join(nearest)}"
    top = [path for path in every if "." not in path]
    return f"--layers: no module matches {pattern!r}\n    modules at the top: {', '.join(top[:12])}"
