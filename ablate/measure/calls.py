"""Networks as calls to be timed: a forward pass, the replay of its CUDA graph, the batch that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ablate.measure.errors import MeasureError
from ablate.measure.latency import Call, Clock, CpuClock

MAX_BATCH = 1024
BATCH_S = 0.25  # of one call at the large batch
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Torch's threads at `threads` inside, as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward(network: nn.Module, images: Tensor) -> Call:
    """The call that is timed: one forward pass without gradients, in the network's own mode."""

    def call() -> Any:
        with torch.inference_mode():
            return network(images)

    return call


def graph_replay(call: Call, device: torch.device | str) -> Call:
    """The replay of `call`, captured as a CUDA graph; its weights and images stay where they are.

    Raises MeasureError for a call that cannot be captured, as one that waits for the host.
    """
    device = torch.device(device)
    if device.type != "cuda":
        raise MeasureError(f"a CUDA graph needs a CUDA device, not {device}")
    try:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()  # capture wants its warm-up on another stream than the default one
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    call()
            torch.cuda.current_stream().wait_stream(aside)
            torch.cuda.synchronize(device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                kept = call()
    except RuntimeError as error:
        raise MeasureError(f"the call cannot be captured as a CUDA graph: {error}") from error

    def replay() -> Any:
        graph.replay()
        return kept  # its memory belongs to the graph

    return replay


def find_batch(
    call_of: Callable[[int], Call],
    *,
    clock: Clock | None = None,
    limit_s: float = BATCH_S,
    bytes_per_image: int = 0,
    limit_bytes: int | None = None,
    largest: int = MAX_BATCH,
) -> int:
    """The largest power of two, up to `largest`, of which one call stays within `limit_s` and fits in memory.

    call_of: the call for a batch of so many images. bytes_per_image, limit_bytes: where a failed allocation
    would end the process and not the call, as on the CPU. At least 1, whatever that takes.
    """
    clock, batch = clock or CpuClock(), 1
    while batch < largest:
        candidate = 2 * batch
        if limit_bytes is not None and candidate * bytes_per_image > limit_bytes:
            break
        try:
            call = call_of(candidate)
            clock.time_ms(call)  # the first call also sets up
            fits = clock.time_ms(call) <= limit_s * 1e3
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if not fits:
            break
        batch = candidate
    return batch
