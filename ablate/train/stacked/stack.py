"""`Stack`: several networks of one architecture as one, and the training steps of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional

from ablate.train.evaluate import Batches
from ablate.train.fit import NonFiniteLoss, count_steps
from ablate.train.generators import get_generators, seed_generators, set_generators
from ablate.train.precision import autocast
from ablate.train.recipe import Recipe, timetable
from ablate.train.schedule import Schedule, make_schedule
from ablate.train.stacked.masks import MASK, find_masks, masked_copy
from ablate.train.stacked.rules import RULES, NotStackable, check_recipe
from ablate.train.state import EpochRow


@dataclass
class StackedFit:
    """What became of one seed. best_epoch, best_weights: as in `FitState`. The weights of the last epoch are
    in the network that was handed in."""

    history: list[EpochRow] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of each step
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class Stack:
    """S networks as one.

    A parameter of shape (…) is a leaf of shape (S, …) and a part of `flat`, which holds all of them, so that
    the optimiser's step is a few operators. owner: of each number in `flat`, the place in the stack.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        recipe: Recipe,
        train: Sequence[Batches],
        *,
        device: torch.device,
        dropout_seeds: Sequence[int],
    ) -> None:
        check_recipe(recipe)
        steps = {count_steps(batches, recipe) for batches in train}
        if len({len(networks), len(train), len(dropout_seeds)}) > 1 or len(steps) != 1:
            raise ValueError(
                "each network needs its batches and its seed, and all of them equally many steps"
            )
        self.recipe, self.device, self.count = recipe, device, len(networks)
        self.dropout_seeds = tuple(dropout_seeds)
        self.epoch_steps = steps.pop()
        (self.span,) = timetable(recipe, self.epoch_steps)
        self.fits = [StackedFit() for _ in networks]
        self.schedules = [_schedule(recipe, self.epoch_steps) for _ in networks]
        for network in networks:
            network.to(device)
        x, _ = next(iter(train[0].epoch(0)))
        self.masks = find_masks(networks[0], x)
        self.body = masked_copy(networks[0], self.masks)
        self._stack(networks)
        decay = recipe.weight_decay
        self.rule = RULES[recipe.optimizer](self.flat, recipe)
        self.decay = torch.cat(
            [
                torch.full_like(
                    one.detach(), decay if recipe.decay_on == "all" or one.dim() > 2 else 0.0
                ).flatten()
                for one in self.parameters.values()
            ]
        )

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.fits[0].history)

    def _stack(self, networks: Sequence[nn.Module]) -> None:
        constant = [name for name, one in networks[0].named_parameters() if not one.requires_grad]
        if constant:
            raise NotStackable(f"{constant[0]} takes no gradient: a stack trains every parameter")
        parameters, self.buffers = stack_module_state(list(networks))
        self.buffers = {name: one.detach() for name, one in self.buffers.items()}
        self.flat = torch.cat([one.detach().flatten() for one in parameters.values()])
        self.gradient = torch.zeros_like(self.flat)
        places = torch.arange(self.count, device=self.device)
        self.owner = torch.cat([places.repeat_interleave(one[0].numel()) for one in parameters.values()])
        self.parameters: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        place = 0
        for name, one in parameters.items():
            end = place + one.numel()
            self.parameters[name] = self.flat[place:end].view(one.shape).requires_grad_()
            self._gradients[name] = self.gradient[place:end].view(one.shape)
            place = end

    # Training

    def train_epoch(self, train: Sequence[Batches]) -> tuple[np.ndarray, np.ndarray]:
        """(mean loss of each step [steps, S], right answers in it [steps, S])."""
        steps, first = self.span.steps_in(self.epoch), self.span.first_step(self.epoch)
        streams = [islice(batches.epoch(self.epoch), steps) for batches in train]
        states = self._seeded()
        losses, hits, sizes = [], [], []
        for step, batch in enumerate(zip(*streams, strict=True)):
            x, y = (torch.stack(part) for part in zip(*batch, strict=True))
            loss, hit = self.step(x, y, self.send_rates(first + step), self.draw_masks(states, x.shape[1]))
            losses.append(loss)
            hits.append(hit)
            sizes.append(x.shape[1])
        self.sizes = sizes
        return torch.stack(losses).cpu().numpy(), torch.stack(hits).cpu().numpy()

    def step(self, x: Tensor, y: Tensor, rates: Tensor, masks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One step of every seed on images [S,B,C,H,W] and labels [S,B]: (losses [S], hits [S]), both left on
        the device. rates: [S]. masks: [S,B,…] of each dropout."""
        self.body.train()
        with autocast(self.recipe.precision, self.device):
            logits = self._forward(x, {**self.buffers, **masks}).float()
        each = functional.cross_entropy(
            logits.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=self.recipe.label_smoothing
        )
        losses = each.view(y.shape).mean(1)
        self._pass_back(losses.sum())  # a seed's parameters move no other seed's loss
        with torch.no_grad():
            if self.recipe.clip_norm is not None:
                self._clip(self.recipe.clip_norm)
            self.rule(self.flat, self.gradient, rates[self.owner], self.decay)
        return losses.detach(), (logits.detach().argmax(2) == y).sum(1)

    def _forward(self, x: Tensor, buffers: Mapping[str, Tensor]) -> Tensor:
        """[S,B,C,H,W] -> logits [S,B,classes]. Batch norm writes its statistics into the stack's buffers."""

        def one(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.body, (parameters, buffers), (x,))

        # A draw that is not one of the masks would be another one than alone: an error, not a surprise.
        mapped = torch.func.vmap(one, randomness="error")
        try:
            return mapped(self.parameters, dict(buffers), x)
        except RuntimeError as error:
            if "vmap" in str(error):
                raise NotStackable(f"torch cannot map this network over seeds: {error}") from error
            raise

    def _pass_back(self, loss: Tensor) -> None:
        """The gradient of every parameter, left in its part of `gradient`."""
        self.gradient.zero_()
        if all(one.grad is not None for one in self.parameters.values()):
            loss.backward()
            return
        loss.backward()
        for name, one in self.parameters.items():
            if one.grad is None:
                # Alone, the optimiser passes it by; in the stack it would decay and keep its momentum.
                raise NotStackable(f"{name} takes part in no output")
            self._gradients[name].copy_(one.grad)
            one.grad = self._gradients[name]  # later passes add here, in place

    def _clip(self, largest: float) -> None:
        """As `nn.utils.clip_grad_norm_` does, each seed by its own norm."""
        squares = [one.flatten(1).square().sum(1) for one in self._gradients.values()]
        norms = torch.stack(squares).sum(0).sqrt()  # [S]
        self.gradient.mul_((largest / (norms + 1e-6)).clamp(max=1.0)[self.owner])

    # What each seed draws

    def _seeded(self) -> list[dict[str, Tensor]]:
        """The generators of each seed at the beginning of the epoch."""
        found = []
        for seed in self.dropout_seeds if self.masks else ():
            seed_generators(seed + self.epoch, self.device)
            found.append(get_generators(self.device))
        return found

    def draw_masks(self, states: list[dict[str, Tensor]], images: int) -> dict[str, Tensor]:
        """Of one step: what each seed's dropout would have drawn alone, by the same operator in the same
        order. `states` moves on."""
        drawn: dict[str, list[Tensor]] = {name: [] for name in self.masks}
        for place, state in enumerate(states):
            set_generators(state, self.device)
            for name, (dropout, shape) in self.masks.items():
                drawn[name].append(dropout(torch.ones(images, *shape, device=self.device)))
            states[place] = get_generators(self.device)
        return {f"{name}.{MASK}": torch.stack(masks) for name, masks in drawn.items()}

    def _rates(self, step: int) -> list[float]:
        """Each seed's learning rate at a step, counted from 0."""
        for schedule in self.schedules:
            schedule.before_step(step)
        return [float(schedule.optimizer.param_groups[0]["lr"]) for schedule in self.schedules]

    def send_rates(self, step: int) -> Tensor:
        rates = torch.tensor(self._rates(step), dtype=torch.float32)
        return (rates.pin_memory() if self.device.type == "cuda" else rates).to(
            self.device, non_blocking=True
        )

    # What comes of an epoch

    @torch.no_grad()
    def evaluate(self, validation: Sequence[Batches]) -> tuple[np.ndarray, np.ndarray]:
        """(mean loss [S], accuracy in percent [S]) of every seed on its validation images."""
        self.body.eval()
        losses, hits, count = [], [], 0
        for batch in zip(*(batches.epoch(0) for batches in validation), strict=True):
            x, y = (torch.stack(part) for part in zip(*batch, strict=True))
            with autocast(self.recipe.precision, self.device):
                logits = self._forward(x, self.buffers).float()
            each = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
            losses.append(each.view(y.shape).sum(1))
            hits.append((logits.argmax(2) == y).sum(1))
            count += y.shape[1]
        loss = torch.stack(losses).cpu().double().sum(0).numpy() / count
        return loss, 100 * torch.stack(hits).cpu().sum(0).numpy() / count

    def finish_epoch(
        self, losses: np.ndarray, hits: np.ndarray, figures: tuple[np.ndarray, np.ndarray], seconds: float
    ) -> None:
        """losses, hits: [steps, S]. figures: see `evaluate`."""
        wrong = np.flatnonzero(~np.isfinite(losses).all(0) | ~np.isfinite(figures[0]))
        if len(wrong):
            places = ", ".join(map(str, wrong))
            raise NonFiniteLoss(
                f"a loss is no number in epoch {self.epoch + 1}, at places {places} of the stack"
            )
        images = sum(self.sizes)
        rates = self._rates(self.span.first_step(self.epoch))
        for place, fit in enumerate(self.fits):
            row = EpochRow(
                epoch=len(fit.history) + 1,
                lr=rates[place],
                train_loss=float(np.average(losses[:, place].astype(np.float64), weights=self.sizes)),
                train_accuracy=100 * float(hits[:, place].sum()) / images,
                validation_loss=float(figures[0][place]),
                validation_accuracy=float(figures[1][place]),
                seconds=seconds,
                images_per_s=images / seconds,
            )
            fit.history.append(row)
            fit.losses += losses[:, place].tolist()
            self.schedules[place].after_epoch(row.validation_loss)
            best = fit.history[fit.best_epoch - 1] if fit.best_epoch else None
            if best is None or _merit(row) > _merit(best):
                fit.best_epoch, fit.best_weights = row.epoch, self.weights(place)

    def weights(self, place: int) -> dict[str, Tensor]:
        """The state dict of one seed's network, on the CPU."""
        stacked = {**self.parameters, **self.buffers}
        return {name: one[place].detach().to("cpu", copy=True) for name, one in stacked.items()}

    def write_back(self, networks: Sequence[nn.Module]) -> None:
        for place, network in enumerate(networks):
            with torch.no_grad():
                for name, one in network.named_parameters():
                    one.copy_(self.parameters[name][place])
                for name, one in network.named_buffers():
                    one.copy_(self.buffers[name][place])


def _merit(row: EpochRow) -> tuple[float, float]:
    return row.validation_accuracy, -row.validation_loss


def _schedule(recipe: Recipe, epoch_steps: int) -> Schedule:
    """One seed's, over an optimiser that holds nothing but its rate."""
    return make_schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr), recipe, epoch_steps)
