"""The processes that train one trial, as one of them sees it, and what they tell one another.

Started by torch's launcher, which says in environment variables where the others are.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ablate.errors import AblateError

PATIENCE_S = 600.0  # for the slowest of the others: one that reads its images from a slow disk
_LOOPBACK = ("lo", "lo0")


@dataclass
class Ranks:
    """rank: of this process, counted from 0. size: how many there are. backend: nccl or gloo.

    waited_s: how long this process has waited for others' numbers, where that can be told: on a CPU.
    """

    rank: int
    size: int
    backend: str
    waited_s: float = field(default=0.0)

    @property
    def is_first(self) -> bool:
        """The one that writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """In place, over all ranks."""
        with self.waiting():
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """[size, …]: the tensor of every rank, all of one shape."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with self.waiting():
            dist.all_gather(found, tensor.contiguous())
        return torch.stack(found)

    def objects(self, own: Any) -> list[Any]:
        """Something picklable of every rank, in their order."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, own)
        return found

    def agree(self, what: str, own: Any) -> None:
        """Raises AblateError where the ranks differ in something that has to be the same."""
        found = self.objects(own)
        if any(other != found[0] for other in found):
            told = ", ".join(f"rank {rank}: {other}" for rank, other in enumerate(found))
            raise AblateError(f"the processes of this trial do not agree on {what}: {told}\n    run it again")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.waited_s += time.perf_counter() - began


@contextmanager
def ranks_joined(
    device: str, *, patience_s: float = PATIENCE_S, variables: Mapping[str, str] = os.environ
) -> Iterator[tuple[Ranks, str]]:
    """The ranks, and the device of this one: `device` itself, or on CUDA the GPU of its number.

    device: as `resolve_device` gives it. patience_s: how long one rank waits for another before it gives up.
    variables: RANK, WORLD_SIZE and LOCAL_RANK, as torch's launcher sets them beside the address.
    """
    rank, size = int(variables["RANK"]), int(variables["WORLD_SIZE"])
    on_cuda = device.startswith("cuda")
    if on_cuda:
        device = f"cuda:{int(variables['LOCAL_RANK'])}"
        torch.cuda.set_device(device)
    else:
        _stay_on_this_machine()
    backend = "nccl" if on_cuda else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=patience_s))
    try:
        yield Ranks(rank, size, backend), device
    finally:
        dist.destroy_process_group()


def _stay_on_this_machine() -> None:
    """gloo looks for its own host by name, which not every machine can resolve; all ranks are here."""
    if hasattr(socket, "if_nameindex"):
        names = [name for _, name in socket.if_nameindex() if name in _LOOPBACK]
        if names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error says no more than that another rank has gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "NCCL", "Connection "))
