"""Parameters: every number that training could change, each counted once."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from ablate.measure.errors import MeasureError


def count_parameters(network: nn.Module, *, within: str | None = None) -> int:
    """Elements of all parameters, frozen ones included; one shared by two modules counts once.

    within: only those of the child of that name; 0 when there is no such child. Raises MeasureError for a
    lazy parameter that has no shape yet.
    """
    if within is not None:
        child = dict(network.named_children()).get(within)
        return 0 if child is None else count_parameters(child)
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise MeasureError(
                f"parameter {name!r} has no shape yet: run one batch through the network first"
            )
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_by_module(network: nn.Module) -> dict[str, int]:
    """Elements of each module itself, without its children, by path, zeros left out.

    A parameter that several modules share counts with the first, so that the sum is the count of the network.
    """
    found: dict[str, int] = {}
    for name, parameter in network.named_parameters():  # each once
        path = name.rpartition(".")[0]
        found[path] = found.get(path, 0) + parameter.numel()
    return found
