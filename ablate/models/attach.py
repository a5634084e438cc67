"""Where attention can sit in a network that nobody here wrote, and the hook that puts it there.

A place is the path of a module, or a glob over the paths: ``*`` and ``?`` stop at a dot, ``**`` crosses dots,
``[12]`` is one character of a set. ``block*`` is block1, block2, block3, but not block1.conv.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.models.construct import ModelError


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
    """One module of the backbone and the feature map that leaves it: shape (C, H, W) for one image."""

    path: str
    shape: tuple[int, int, int]

    @property
    def channels(self) -> int:
        return self.shape[0]


def find_places(
    backbone: nn.Module, patterns: Sequence[str], image_shape: Sequence[int]
) -> tuple[Place, ...]:
    """The places that `patterns` name, in the order of the backbone's own modules; one place for each module.

    Channels are found by running a copy once on the meta device, so nothing of `backbone` changes. Raises
    PlaceError (with every fault in `faults`) for a pattern that matches nothing, or a module that does not
    run exactly once or whose output is no (B, C, H, W) tensor.
    """
    wanted, faults = _match(backbone, patterns)
    _, outputs = run_copy(backbone, (2, *image_shape), tuple(wanted))
    places = []
    for path, pattern in wanted.items():
        problem = _unfit(outputs[path])
        if problem is None:
            places.append(Place(path, tuple(outputs[path][0].shape[1:])))
        else:
            shape = next((tuple(out.shape) for out in outputs[path] if isinstance(out, Tensor)), None)
            message = f"attention cannot sit after {path!r}" + (
                f" (from {pattern!r})" if pattern != path else ""
            )
            faults.append(PlaceError(f"{message}: {problem}", pattern=pattern, path=path, shape=shape))
    if faults:
        faults[0].faults = tuple(faults)
        raise faults[0]
    return tuple(places)


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


def glob_regex(pattern: str) -> re.Pattern[str]:
    """The regular expression of a place; a bracket that is never closed stands for itself."""
    regex, rest = "", pattern
    while rest:
        if rest.startswith("**."):
            regex, rest = regex + r"(?:.*\.)?", rest[3:]  # '**.relu' includes a 'relu' at the top
        elif rest.startswith("**"):
            regex, rest = regex + ".*", rest[2:]
        elif rest[0] in "*?":
            regex, rest = regex + (r"[^.]*" if rest[0] == "*" else r"[^.]"), rest[1:]
        elif brackets := re.match(r"\[(!?)([^]]+)]", rest):
            negated, members = brackets.groups()
            members = re.sub(r"([\\\[^&~|])", r"\\\1", members)
            regex, rest = regex + (f"[^.{members}]" if negated else f"[{members}]"), rest[brackets.end() :]
        else:
            regex, rest = regex + re.escape(rest[0]), rest[1:]
    try:
        return re.compile(regex)
    except re.error:  # a set such as [3-1]
        return re.compile(re.escape(pattern))


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


def run_copy(
    module: nn.Module, shape: Sequence[int], watch: Sequence[str] = ()
) -> tuple[Any, dict[str, list[Any]]]:
    """Run a copy of `module` once in eval mode on zeros: its output, and {path in `watch`: its outputs}.

    On the meta device, which costs nothing; with real numbers only where an operator has no meta version or
    the network looks at values. An error of the network itself is raised as it is.
    """
    try:
        return _run(_meta_copy(module), shape, watch)
    except RuntimeError:
        if any(tensor.is_meta for tensor in module.parameters()):
            raise
        return _run(copy.deepcopy(module), shape, watch)


def _run(module: nn.Module, shape: Sequence[int], watch: Sequence[str]) -> tuple[Any, dict[str, list[Any]]]:
    outputs: dict[str, list[Any]] = {path: [] for path in watch}
    for path, seen in outputs.items():
        module.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, out, seen=seen: seen.append(out)
        )
    tensor = next(itertools.chain(module.parameters(), module.buffers()), torch.empty(0))
    with torch.no_grad():
        return module.eval()(torch.zeros(tuple(shape), device=tensor.device)), outputs


def _meta_copy(module: nn.Module) -> nn.Module:
    """A copy with shapes but no numbers; deepcopy's memo spares it the weights."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), parameter.requires_grad
        )
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo)


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
