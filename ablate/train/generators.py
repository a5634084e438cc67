"""torch's global generators, from which dropout draws; there is no way to hand it one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def seed_generators(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def get_generators(device: torch.device) -> dict[str, Tensor]:
    """Their states, by kind of device."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"].cpu())


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """The caller's global generators come back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
