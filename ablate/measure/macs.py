"""Multiply-adds of one forward pass, counted twice by independent means.

fvcore walks the traced graph with the handlers of `operators`; torch.utils.flop_counter watches the kernels
on the meta device, where a fused attention shows its products. Both must give the same integer. The
convention stands in `operators`; batch 1, eval mode.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ablate.measure.errors import MeasureError
from ablate.measure.operators import COUNTED, Handler, is_free

with warnings.catch_warnings():  # fvcore still decorates a few losses with torch.jit.script
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis

_SLASH = "\u2215"  # fvcore splits scopes at "/", which names of attached modules contain


@dataclass(frozen=True, slots=True)
class MacCount:
    """MACs of one image.

    by_module: of each module itself, without its children, zeros left out; sums to `total`, as by_operator
    does. attention: what the child called `within` takes of it. other_ops: calls of operators without MACs.
    """

    total: int
    attention: int
    by_module: dict[str, int]
    by_operator: dict[str, int]
    other_ops: dict[str, int]


def count_macs(
    network: nn.Module,
    image_shape: Sequence[int],
    *,
    within: str = "attention",
    handlers: Mapping[str, Handler | None] | None = None,
) -> MacCount:
    """MACs of `network` for one image of (C, H, W). The network itself is neither run nor changed.

    handlers: further operators, ``{"mylib::op": function}`` as described in `operators`, None for one without
    MACs; a module that calls one may also bring it along, in a dict attribute ``mac_handlers``. Raises
    MeasureError for an operator that nobody counts, when the two counters disagree, or when the network
    cannot be traced.
    """
    brought = (getattr(module, "mac_handlers", {}) for module in network.modules())
    handlers = {name: handler for table in (*brought, handlers or {}) for name, handler in table.items()}
    analysis = _traced(network, image_shape, handlers)
    other_ops = _known_free(analysis, handlers)
    by_module = _without_children(analysis.by_module())
    watched = _watched(network, image_shape, handlers)
    total = analysis.total()
    if total != sum(watched.values()):
        raise _disagreement(by_module, watched)
    attention = sum(macs for path, macs in by_module.items() if path.split(".")[0] == within)
    by_operator = {name: int(macs) for name, macs in sorted(analysis.by_operator().items()) if macs}
    return MacCount(int(total), attention, by_module, by_operator, other_ops)


class _Analysis(FlopCountAnalysis):
    """FlopCountAnalysis that bears slashes in the names of modules."""

    def _get_aliases(self, model: nn.Module) -> dict[str | nn.Module, str]:
        aliases = {key: name.replace("/", _SLASH) for key, name in super()._get_aliases(model).items()}
        return aliases | {name: name for name in aliases.values()}


def _traced(
    network: nn.Module, image_shape: Sequence[int], handlers: Mapping[str, Handler | None]
) -> _Analysis:
    """fvcore's analysis, done. On the CPU: the tracer fails on meta kernels that are written in Python."""
    with _twin(network, "cpu", image_shape) as (model, image):
        analysis = _Analysis(model, image)
        analysis.clear_op_handles().unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        table = {name: _from_jit(handler) for name, handler in {**COUNTED, **handlers}.items() if handler}
        analysis.set_op_handle(**table)
        try:
            analysis.total()
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise MeasureError(
                f"the network cannot be traced on an image of {tuple(image_shape)}: {error}"
            ) from error
    return analysis


def _from_jit(handler: Handler) -> Any:
    def count(inputs: list[Any], outputs: list[Any]) -> int:
        return int(handler([_plain(value) for value in inputs], [_plain(value) for value in outputs]))

    return count


def _plain(value: Any) -> Any:
    """A value of the graph as a shape, a list of shapes, or its constant."""
    if value.isCompleteTensor():
        return tuple(value.type().sizes())
    if value.node().kind() == "prim::ListConstruct":
        return [_plain(item) for item in value.node().inputs()]
    return value.toIValue()


_HOW = (
    "give the module that calls it an attribute mac_handlers = {'name': function}, where"
    " function(inputs, outputs) takes shapes and gives MACs, and None stands for no MACs;"
    " count_macs(..., handlers=...) takes the same"
)


def _known_free(analysis: _Analysis, handlers: Mapping[str, Handler | None]) -> dict[str, int]:
    """Calls of operators that cost nothing; MeasureError when one is neither counted nor known."""
    calls = analysis.unsupported_ops()
    unknown = sorted(name for name in calls if name not in handlers and not is_free(name))
    if unknown:
        raise MeasureError(f"operators that nobody counts: {', '.join(unknown)}\n    register each: {_HOW}")
    return dict(sorted(calls.items()))


def _watched(
    network: nn.Module, image_shape: Sequence[int], handlers: Mapping[str, Handler | None]
) -> Counter[str]:
    """{path: MACs of the module itself} under torch's counter on the meta device."""
    # torch's counter has formulas of its own for aten, so that the two counters are two opinions
    foreign = {name: handler for name, handler in COUNTED.items() if not name.startswith("aten::")}
    formulas = {
        _packet(name): _as_formula(handler) for name, handler in {**foreign, **handlers}.items() if handler
    }
    formulas.pop(None, None)
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    own: Counter[str] = Counter()
    running = [""]  # paths of the modules whose forward is under way

    def book() -> None:
        own[running[-1]] += counter.get_total_flops() // 2 - own.total()

    def enter(path: str, _module: nn.Module, _inputs: Any) -> None:
        book()
        running.append(path)

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        book()
        running.pop()

    with _twin(network, "meta", image_shape) as (model, image):
        for path, module in model.named_modules():
            module.register_forward_pre_hook(partial(enter, path))
            module.register_forward_hook(leave)
        try:
            with torch.no_grad(), counter:
                model(image)
        except (RuntimeError, TypeError, ValueError) as error:
            raise MeasureError(f"the network cannot run on the meta device: {error}") from error
    return own


def _packet(name: str) -> Any:
    """The operator of torch.ops that the traced name stands for, or None."""
    space, _, operator = name.partition("::")
    return getattr(getattr(torch.ops, space), operator, None)


def _as_formula(handler: Handler) -> Any:
    def flops(*args: Any, out_shape: Any = None, **_keywords: Any) -> int:
        return 2 * int(handler(args, [out_shape]))

    return flops


@contextmanager
def _twin(
    network: nn.Module, device: str, image_shape: Sequence[int]
) -> Iterator[tuple[nn.Module, torch.Tensor]]:
    """A copy of `network` in eval mode on `device` and one image, both of zeros; weights are not copied.

    The fast path of nn.MultiheadAttention is off inside: it hides the products from both counters.
    """
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(_zeros(parameter, device), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = _zeros(buffer, device)
    tensors = itertools.chain(network.parameters(), network.buffers())
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.device(device):
            yield copy.deepcopy(network, memo).eval(), torch.zeros((1, *image_shape), dtype=dtype)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _zeros(like: torch.Tensor, device: str) -> torch.Tensor:
    """As torch.zeros_like; numpy leaves the zeroing to the system, which spares writing half a gigabyte."""
    if device == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.zeros(tuple(like.shape), np.float32))
    return torch.zeros_like(like, device=device)


def _without_children(by_module: Mapping[str, float]) -> dict[str, int]:
    """{path: MACs of the module itself}, from sums that include the children."""
    own = Counter({path: int(macs) for path, macs in by_module.items()})
    for path, macs in by_module.items():
        if path:
            own[path.rpartition(".")[0]] -= int(macs)
    return {path.replace(_SLASH, "/"): macs for path, macs in own.items() if macs}


def _disagreement(traced: Mapping[str, int], watched: Mapping[str, int]) -> MeasureError:
    """Both totals, and both numbers of every module that differs, children aside."""
    paths = [path for path in (traced | watched) if traced.get(path, 0) != watched.get(path, 0)]
    lines = "".join(
        f"\n    {path or '(the network itself)'}: {traced.get(path, 0):,} and {watched.get(path, 0):,}"
        for path in paths[:20]
    )
    totals = f"fvcore counts {sum(traced.values()):,} MACs and torch {sum(watched.values()):,}"
    return MeasureError(f"{totals}; they must agree{lines}")
