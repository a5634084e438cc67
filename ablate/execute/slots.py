"""How many workers a machine's GPUs bear, and which GPU each one sees: arithmetic, nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence

# A CUDA context with its libraries lies outside what the allocator counts: 0.4 to 0.6 GiB on recent GPUs.
CONTEXT_BYTES = 3 * 2**28
# Of what is free: fragments, workspaces that a later step asks for, and other users' ups and downs.
MARGIN = 0.15
# Workers on one GPU take turns; small networks gain from a few, and beyond that each only waits longer.
MOST_PER_GPU = 4


def workers_for(free_bytes: int, peak_bytes: int | None, *, most: int = MOST_PER_GPU) -> int:
    """Trials that fit beside one another into what is free on a GPU; one where that cannot be told.

    peak_bytes: the most that the allocator held while the largest of the trials trained; None: not measured.
    The first is always tried: if it does not fit, its failure says so.
    """
    if peak_bytes is None or peak_bytes <= 0:
        return 1
    fitting = int(free_bytes * (1 - MARGIN)) // (peak_bytes + CONTEXT_BYTES)
    return max(1, min(most, fitting))


def gpu_slots(
    names: Sequence[str], capacities: Sequence[int], workers: int | None = None
) -> list[dict[str, str]]:
    """One mapping of environment variables a worker, which thereby sees one GPU, as its cuda:0.

    names: of the GPUs, as CUDA_VISIBLE_DEVICES takes them. capacities: workers that each bears. workers: how
    many in all, whatever the capacities say. Round by round over the GPUs, so that a few workers are spread
    and not heaped; a GPU that bears fewer sits out the later rounds.
    """
    if not names or len(names) != len(capacities):
        raise ValueError(f"{len(names)} GPUs with {len(capacities)} capacities")
    wanted = sum(capacities) if workers is None else workers
    chosen: list[str] = []
    level = 0
    while len(chosen) < wanted:
        # Beyond what was found to fit (-j says so) all GPUs take part alike.
        bearing = [name for name, most in zip(names, capacities, strict=True) if level < most] or list(names)
        chosen += bearing
        level += 1
    return [{"CUDA_VISIBLE_DEVICES": name} for name in chosen[:wanted]]
