"""Where attention can sit in a network that nobody here wrote, and the hook that puts it there.

A place is the path of a module, or a glob over the paths: ``*`` and ``?`` stop at a dot, ``**`` crosses dots,
``[12]`` is one character of a set. ``block*`` is block1, block2, block3, but not block1.conv.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ablate.models.construct import ModelError
from ablate.models.dry_run import run_copy
from ablate.models.layout import misplaced_channels
from ablate.models.residual import find_branches
from ablate.spec.names import glob_regex

PLACES = ("after", "before-add")


class PlaceError(ModelError):
    """A place where no attention can sit.

    pattern: as the study says it. nearest: existing paths like it, when nothing matches. path: the module
    that matched but does not do. shape: of its output there, None when it is no tensor. faults: every faulty
    place of the same list, this one included.
    """

    def __init__(
        self,
        message: str,
        *,
        pattern: str,
        path: str | None = None,
        nearest: Sequence[str] = (),
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.pattern, self.path, self.nearest, self.shape = pattern, path, tuple(nearest), shape
        self.faults: tuple[PlaceError, ...] = (self,)

    def __reduce__(self) -> tuple[Any, ...]:  # keyword arguments would not survive pickling from a worker
        return _restore_place_error, (self.args[0], self.pattern, self.path, self.nearest, self.shape)


def _restore_place_error(
    message: str, pattern: str, path: str | None, nearest: Sequence[str], shape: tuple[int, ...] | None
) -> PlaceError:
    return PlaceError(message, pattern=pattern, path=path, nearest=nearest, shape=shape)


@dataclass(frozen=True, slots=True)
class Place:
    """One module of the backbone and the feature map that leaves it: shape (C, H, W) for one image.

    block: the residual block that the study names, when `path` is the end of its branch.
    """

    path: str
    shape: tuple[int, int, int]
    block: str | None = None

    @property
    def channels(self) -> int:
        return self.shape[0]


def find_places(
    backbone: nn.Module, patterns: Sequence[str], image_shape: Sequence[int], place: str = "after"
) -> tuple[Place, ...]:
    """The places that `patterns` name, in the order of the backbone's own modules; one place for each module.

    place: ``after`` the modules that the patterns name, or ``before-add``: the patterns name residual blocks,
    and a place is the submodule whose output a block adds to its shortcut. Channels are found by running a
    copy on the meta device, so nothing of `backbone` changes. Raises PlaceError (with every fault in
    `faults`) for a pattern that matches nothing, a module that does not run exactly once or whose output is
    no (B, C, H, W) tensor, and a block whose branch cannot be told.
    """
    if place not in PLACES:
        raise ModelError(f"no place is called {place!r}\n    allowed: {', '.join(PLACES)}")
    wanted, faults = _match(backbone, patterns)
    reasons: dict[str, str] = {}
    ends = {path: path for path in wanted}
    if place == "before-add":
        branches = find_branches(backbone, tuple(wanted), image_shape)
        reasons = {path: branch.refusal for path, branch in branches.items() if branch.refusal}
        ends = {path: branch.path for path, branch in branches.items() if branch.path}
    _, outputs = run_copy(backbone, (2, *image_shape), tuple(ends.values()))
    unfit = _unfit_maps(backbone, image_shape, outputs)
    places = []
    for path, pattern in wanted.items():
        end = ends.get(path)
        problem = reasons.get(path) or unfit.get(end)
        if problem and end not in (None, path):
            problem = f"its branch ends in {end!r}, but {problem}"
        if problem:
            faults.append(_refused(path, pattern, place, problem, outputs.get(end, ())))
        else:
            shape = tuple(outputs[end][0].shape[1:])
            places.append(Place(end, shape, block=path if place == "before-add" else None))
    if faults:
        faults[0].faults = tuple(faults)
        raise faults[0]
    return tuple(places)


def _refused(path: str, pattern: str, place: str, problem: str, outputs: Sequence[Any]) -> PlaceError:
    where = f"after {path!r}" if place == "after" else f"before the addition of {path!r}"
    source = f" (from {pattern!r})" if pattern != path else ""
    return PlaceError(
        f"attention cannot sit {where}{source}: {problem}",
        pattern=pattern,
        path=path,
        shape=next((tuple(out.shape) for out in outputs if isinstance(out, Tensor)), None),
    )


def _match(backbone: nn.Module, patterns: Sequence[str]) -> tuple[dict[str, str], list[PlaceError]]:
    """{path: the first pattern that names it} in module order, and the patterns that name nothing."""
    first_name: dict[nn.Module, str] = {}
    canonical = {}  # a module that is reachable under two names goes by the first
    for path, module in backbone.named_modules(remove_duplicate=False):
        if path:
            canonical[path] = first_name.setdefault(module, path)
    found: dict[str, str] = {}
    faults = []
    for pattern in patterns:
        regex = glob_regex(pattern)
        hits = [pattern] if pattern in canonical else [path for path in canonical if regex.fullmatch(path)]
        for path in hits:
            found.setdefault(canonical[path], pattern)
        if not hits:
            faults.append(_nothing_matches(pattern, list(canonical)))
    order = {path: index for index, path in enumerate(canonical)}
    return dict(sorted(found.items(), key=lambda item: order[item[0]])), faults


def _nothing_matches(pattern: str, paths: list[str]) -> PlaceError:
    nearest = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.6)
    if nearest:
        hint = f"did you mean {', '.join(map(repr, nearest))}?"
    else:
        top = [path for path in paths if "." not in path]
        shown = ", ".join(top[:12]) + (", …" if len(top) > 12 else "")
        hint = f"modules at the top: {shown or 'none'}"
    return PlaceError(
        f"no module of the backbone matches {pattern!r}\n    {hint}", pattern=pattern, nearest=nearest
    )


def _unfit_maps(
    backbone: nn.Module, image_shape: Sequence[int], outputs: dict[str, list[Any]]
) -> dict[str, str]:
    """{path: why attention cannot follow it} for those of `outputs` where it cannot."""
    reasons = {path: reason for path, seen in outputs.items() if (reason := _unfit(seen))}
    shapes = {path: tuple(seen[0].shape) for path, seen in outputs.items() if path not in reasons}
    return reasons | misplaced_channels(backbone, image_shape, shapes)


def _unfit(outputs: list[Any]) -> str | None:
    """Why attention cannot follow a module that gave `outputs` in one forward, or None when it can."""
    if len(outputs) != 1:
        runs = (
            f"runs {len(outputs)} times in a forward" if outputs else "does not run in a forward in eval mode"
        )
        return f"it {runs}, and one attention module needs one map"
    output = outputs[0]
    if not isinstance(output, Tensor):
        return f"its output is a {type(output).__name__}, not a feature map (B, C, H, W)"
    if output.ndim != 4:
        return f"its output has the shape {tuple(output.shape)}, not that of a feature map (B, C, H, W)"
    if 0 in output.shape:
        return f"its output is empty: {tuple(output.shape)}"
    return None


def hook_after(host: nn.Module, attention: nn.Module) -> None:
    """Pass the output of `host` through `attention` from now on.

    The tuple keeps `attention` out of the host's own submodules, so the backbone's state dict keeps its
    names; the hook is a plain function that finds `attention` through the host, so copies and pickles are
    wired to their own.
    """
    host._ablate_attention = (attention,)
    host._ablate_hook = host.register_forward_hook(_attend)


def unhook(host: nn.Module) -> None:
    """Undo `hook_after`."""
    host._ablate_hook.remove()
    del host._ablate_hook, host._ablate_attention


def _attend(host: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return host._ablate_attention[0](output)
