"""Tensors that a module of the user's own would leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ablate.models.construct import ModelError

# Left beside a parameter by torch's weight_norm, spectral_norm and pruning, which renew it at every forward
_DERIVED_FROM = ("_orig", "_g")
_TORCHS = ("_parameters", "_buffers")


def check_registered(name: str, module: nn.Module) -> None:
    """Raises ModelError if `module` keeps a tensor that is neither a parameter nor a buffer.

    Such a tensor stays on its device when the network moves, and is missing from the saved weights. Numbers
    (tensors without dimensions) work on every device and may stay.
    """
    found = [
        f"{path}.{key}".lstrip(".")
        for path, submodule in module.named_modules()
        for key, value in vars(submodule).items()
        if key not in _TORCHS
        and not any(f"{key}{ending}" in submodule._parameters for ending in _DERIVED_FROM)
        and any(tensor.ndim and tensor.is_leaf for tensor in _tensors_in(value))
    ]
    if found:
        one = len(found) == 1
        raise ModelError(
            f"attention {name!r} keeps {'a tensor' if one else 'tensors'} in {', '.join(found)} that"
            f" {'is' if one else 'are'} neither a parameter nor a buffer"
            "\n    it would stay behind when the network moves, and be missing from its saved weights:"
            "\n    use self.register_buffer('name', tensor), or nn.Parameter(tensor) if it is to be trained"
        )


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif type(value) in (list, tuple):
        for item in value:
            yield from _tensors_in(item)
    elif type(value) is dict:
        yield from _tensors_in(list(value.values()))
