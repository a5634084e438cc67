"""Where the residual branch of a block ends: the submodule whose output is added to the shortcut.

CBAM sits there (Woo et al. 2018, arXiv:1807.06521, figure 3). The addition is found by running the block and
looking at the tensors, so that a block counts by what it does and not by its class's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.models.dry_run import run_copy

ADDITIONS = ("aten::add", "aten::add_")
# These make one operand the branch, and the other the shortcut, which has none or only its projection.
LAYERS = (
    "aten::convolution",
    "aten::_convolution",
    "aten::mkldnn_convolution",
    "aten::addmm",
    "aten::mm",
    "aten::bmm",
    "aten::linear",
)


@dataclass(frozen=True, slots=True)
class Branch:
    """The end of a block's residual branch: `path` of the submodule, or the `refusal` that says why not."""

    path: str | None = None
    refusal: str | None = None


def find_branches(
    backbone: nn.Module, blocks: Sequence[str], image_shape: Sequence[int]
) -> dict[str, Branch]:
    """{path of a block: where its residual branch ends}, found in one run of a copy of `backbone`."""
    journal = _Journal()

    def observe(copied: nn.Module) -> Any:
        nonlocal journal
        journal = _Journal()  # the run on the meta device may have been given up halfway
        return _observed(copied, journal)

    run_copy(backbone, (2, *image_shape), observe=observe)
    return {block: _branch(journal, block) for block in blocks}


@dataclass(frozen=True, slots=True)
class _Operand:
    """A tensor as it was when it was added; `version` counts what was written into it in place."""

    key: int
    version: int
    layers: int


@dataclass(frozen=True, slots=True)
class _Addition:
    owner: str
    operands: tuple[_Operand, _Operand]


@dataclass(frozen=True, slots=True)
class _Exit:
    path: str
    key: int
    version: int


@dataclass(slots=True)
class _Journal:
    """What one run did. Tensors go by their id, which is theirs alone as long as `alive` holds them.

    exits: modules whose output is one tensor, in the order in which they finished. layers: {tensor: longest
    chain of LAYERS before it}. origin: {tensor: (operator that made it, operand with the most layers)}.
    """

    additions: list[_Addition] = field(default_factory=list)
    exits: list[_Exit] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    layers: dict[int, int] = field(default_factory=dict)
    origin: dict[int, tuple[str, int]] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)


@dataclass(slots=True)
class _Running:
    path: str
    has_children: bool
    known: int  # how many tensors the journal held when the module began


class _Recorder(TorchDispatchMode):
    def __init__(self, journal: _Journal) -> None:
        super().__init__()
        self.journal = journal
        self.running: list[_Running] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = list(_tensors((args, list((kwargs or {}).values()))))
        name = func._schema.name
        if name in ADDITIONS and len(inputs) == 2:
            self._note_addition(*inputs)
        output = func(*args, **(kwargs or {}))
        layers = self.journal.layers
        deepest = max(inputs, key=lambda tensor: layers.get(id(tensor), 0), default=None)
        depth = layers.get(id(deepest), 0) + (name in LAYERS)
        for tensor in _tensors(output):
            if all(tensor is not known for known in inputs):
                self.journal.alive.append(tensor)
                self.journal.origin[id(tensor)] = (name, id(deepest))
            layers[id(tensor)] = depth
        return output

    def _note_addition(self, left: Tensor, right: Tensor) -> None:
        if left is right or left.ndim < 3 or left.shape != right.shape or not self.running:
            return
        owner = self.running[-1]
        if not owner.has_children and len(self.running) > 1:
            # A module that does nothing but add acts for the one around it; a sum of what a leaf made itself,
            # such as an activation's polynomial, is no residual addition.
            before = {id(tensor) for tensor in self.journal.alive[: owner.known]}
            if not {id(left), id(right)} <= before:
                return
            owner = self.running[-2]
        operands = (self._operand(left), self._operand(right))
        self.journal.additions.append(_Addition(owner.path, operands))

    def _operand(self, tensor: Tensor) -> _Operand:
        return _Operand(id(tensor), tensor._version, self.journal.layers.get(id(tensor), 0))


@contextmanager
def _observed(module: nn.Module, journal: _Journal) -> Iterator[None]:
    recorder = _Recorder(journal)

    for path, submodule in module.named_modules():
        has_children = any(True for _ in submodule.children())

        def enter(
            _module: nn.Module, inputs: Any, path: str = path, has_children: bool = has_children
        ) -> None:
            journal.alive.extend(_tensors(inputs))
            recorder.running.append(_Running(path, has_children, len(journal.alive)))

        def leave(_module: nn.Module, _inputs: Any, output: Any, path: str = path) -> None:
            recorder.running.pop()
            journal.runs[path] = journal.runs.get(path, 0) + 1
            if isinstance(output, Tensor):
                journal.alive.append(output)
                journal.exits.append(_Exit(path, id(output), output._version))

        submodule.register_forward_pre_hook(enter, prepend=True)
        submodule.register_forward_hook(leave)
    with recorder:
        yield


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _branch(journal: _Journal, block: str) -> Branch:
    runs = journal.runs.get(block, 0)
    if runs == 0:
        return Branch(refusal="it does not run in a forward in eval mode")
    if runs > 1:
        return Branch(refusal=f"it runs {runs} times in a forward")
    own = [addition for addition in journal.additions if addition.owner == block]
    if not own:
        return Branch(refusal=_no_addition(journal, block))
    left, right = sorted(own[-1].operands, key=lambda operand: operand.layers)
    if left.layers == right.layers:
        return Branch(
            refusal="both maps that it adds went through equally many convolutions, so which of them is the"
            " branch cannot be told\n    name the last submodule of the branch, with place: after"
        )
    return _end_of(journal, block, right)


def _end_of(journal: _Journal, block: str, branch: _Operand) -> Branch:
    """The first submodule that gave the branch as it is added.

    The first, as a dropout or a stochastic depth passes it on unchanged in eval mode and belongs after the
    attention: a branch that was dropped must stay zero.
    """
    inside = [end for end in journal.exits if end.path.startswith(f"{block}.")]
    same = [end.path for end in inside if (end.key, end.version) == (branch.key, branch.version)]
    for path in same:
        if journal.runs[path] == 1:
            return Branch(path)
    if same:
        return Branch(refusal=f"its branch ends in {same[0]!r}, which runs several times in a forward")
    return Branch(refusal=_no_submodule(journal, inside, branch.key))


def _no_submodule(journal: _Journal, inside: Sequence[_Exit], key: int) -> str:
    """Why, and the last submodule before the operators that stand between the branch and the addition."""
    operator, nearest = None, None
    while key and nearest is None:
        nearest = next((end.path for end in reversed(inside) if end.key == key), None)
        if nearest is None:
            made_by, key = journal.origin.get(key, (None, 0))
            operator = operator or made_by
    made = (operator or "an operator in place").removeprefix("aten::")
    hint = (
        f"\n    the last submodule of the branch is {nearest!r}: name it, with place: after"
        if nearest
        else ""
    )
    return f"the map that it adds to the shortcut is no output of a submodule ({made} comes between){hint}"


def _no_addition(journal: _Journal, block: str) -> str:
    within = [add.owner for add in journal.additions if add.owner.startswith(f"{block}.")]
    if within:
        names = list(dict.fromkeys(within))
        shown = ", ".join(map(repr, names[:4])) + (", …" if len(names) > 4 else "")
        return f"it adds no two maps itself, modules inside it do\n    name those: {shown}"
    return "it adds no two maps of one shape, so it has no residual branch\n    use place: after"
