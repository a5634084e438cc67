"""The gradient of a whole batch from the shares of all ranks, through torch's DistributedDataParallel."""

from __future__ import annotations

import hashlib
import inspect
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from ablate.errors import AblateError
from ablate.train.distributed.dropout import WholeMasks
from ablate.train.distributed.norm import batch_norm_shared
from ablate.train.distributed.probe import has_unused_parameters, refuse_mixing
from ablate.train.distributed.ranks import Ranks
from ablate.train.distributed.shares import Part, parts_of
from ablate.train.evaluate import Batches
from ablate.train.generators import get_generators, seed_generators
from ablate.train.precision import autocast
from ablate.train.recipe import Recipe
from ablate.train.state import FitState


class SharedGradients:
    """The `Gradients` of one stage: what this rank computes of each batch, and what comes of all.

    To be made by all ranks at once, as each stage begins: DistributedDataParallel knows for good which
    parameters take gradients, and whether some never do.
    """

    def __init__(
        self, network: nn.Module, state: FitState, recipe: Recipe, ranks: Ranks, train: Batches, seed: int
    ) -> None:
        """seed: of this fit's dropout. Raises AblateError for what cannot be shared out."""
        if recipe.compile:
            raise AblateError(
                "train.compile: a compiled network is trained by one process\n"
                "    set train.compile: false, or leave out --gpus-per-trial"
            )
        self._state, self._recipe, self._ranks, self._train = state, recipe, ranks, train
        self._seed = seed
        self._device = next(network.parameters()).device
        x, _ = next(iter(train.epoch(state.epoch)))
        refuse_mixing(network, state, x, ranks.size)
        unused = torch.tensor(float(has_unused_parameters(network, state, x)), device=self._device)
        self._model = DistributedDataParallel(
            network,
            device_ids=[self._device.index] if self._device.type == "cuda" else None,
            find_unused_parameters=bool(ranks.sum(unused)),
            gradient_as_bucket_view=True,
            **_no_buffers_sent(),
        )
        # A pass that is computed again must draw the same again, which torch sees to for its own generators.
        self._masks = None if recipe.gradient_checkpointing else WholeMasks(self._device)
        self._parts: list[Part] = []
        self._whole = 0
        self._steps = 0

    def begin_epoch(self) -> None:
        """Dropout goes on from torch's generators as they stand, which are the same in all ranks."""
        if self._masks is not None:
            self._masks.take_over()

    @property
    def generators(self) -> dict[str, Tensor]:
        """What `begin_epoch` has to meet in torch's generators in order to go on from here."""
        return get_generators(self._device) if self._masks is None else self._masks.states

    def begin(self, step: int) -> int:
        """Before step `step` of the epoch: how many images its batch has.

        Each step seeds torch's own generators for this rank, so that a checkpoint need not hold those of all.
        """
        ranks, recipe = self._ranks, self._recipe
        self._whole = min(recipe.batch_size, self._train.count - step * recipe.batch_size)
        self._parts = list(
            parts_of(
                self._whole,
                batch_size=recipe.batch_size,
                accumulate=recipe.accumulate,
                rank=ranks.rank,
                size=ranks.size,
            )
        )
        seed_generators(_stream(self._seed, self._state.epoch, step, ranks.rank), self._device)
        self._steps += 1
        return self._whole

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, y): this rank's images of the batch. Loss and hits are those of the whole batch."""
        self._state.optimizer.zero_grad(set_to_none=True)
        figures = torch.zeros(2, dtype=torch.float64, device=x.device)
        taken = 0
        for part in self._parts:
            rows = slice(taken, taken + part.count)
            figures += self._pass_back(x[rows], y[rows], part, last=part is self._parts[-1])
            taken += part.count
        loss, hits = self._ranks.sum(figures)
        return loss.float(), hits.long()

    def _pass_back(self, x: Tensor, y: Tensor, part: Part, *, last: bool) -> Tensor:
        """Add this rank's part of the gradient: what it adds to the loss and the hits of the batch.

        The gradients of the ranks are averaged, so each counts its own images as often as there are ranks.
        """
        size = self._ranks.size
        with (
            nullcontext() if last else self._model.no_sync(),
            batch_norm_shared(self._ranks) if part.shared else nullcontext(),
        ):
            masks = nullcontext() if self._masks is None else self._masks.drawn_for(part)
            with masks, autocast(self._recipe.precision, x.device):
                logits = self._model(x)
            logits = logits.float()
            loss = functional.cross_entropy(
                logits, y, reduction="sum", label_smoothing=self._recipe.label_smoothing
            )
            loss = loss / self._whole
            self._state.scaler.scale(loss * size if part.shared else loss).backward()
        hits = (logits.detach().argmax(1) == y).sum()
        found = torch.stack([loss.detach().double(), hits.double()])
        return found if part.shared or self._ranks.is_first else torch.zeros_like(found)

    def end(self) -> bool:
        """After the last step: whether `Ranks.waited_s` says all that this rank waited for the others.

        Of the gradients torch times every hundredth step, here what was not hidden behind the computation.
        """
        if self._device.type != "cpu":
            return False
        told = self._model._get_ddp_logging_data()
        hidden_ns = told.get("avg_backward_compute_comm_overlap_time", 0)
        waited_ns = max(0, told.get("avg_backward_comm_time", 0) - hidden_ns)
        self._ranks.waited_s += 1e-9 * waited_ns * self._steps
        return True


def _no_buffers_sent() -> dict[str, bool]:
    """All ranks change their buffers alike, and need not send them before each step."""
    known = inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def _stream(seed: int, epoch: int, step: int, rank: int) -> int:
    """A 63-bit seed; neighbouring ones have nothing in common."""
    digest = hashlib.sha256(f"{seed}/epoch {epoch} step {step} rank {rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
