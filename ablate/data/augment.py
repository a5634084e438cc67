"""Augmentation of whole batches, equal in distribution to torchvision's transforms applied image by image.

The steps are RandomCrop(size, padding=crop), RandomHorizontalFlip, ColorJitter(j, j, j, min(j / 4, 0.5)) and
RandomRotation(rotate), in this order, on float images in 0..1. Every image gets its own parameters. They are
drawn first, for as many images as wanted, and applied afterwards: drawn on the CPU they are the same on every
device, and applying them never makes the host wait.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from ablate.data.jitter import Jitter


class Step(Protocol):
    """One step of an augmentation."""

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Parameters of `count` images, float32 [count, K], on the generator's device."""

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """A new batch [B, C, H, W] from this one and the parameters [B, K] on its device."""


class CropFlip:
    """Zero padding of `crop` pixels and a random crop back to the size; one half of the images mirrored."""

    def __init__(self, crop: int, flip: bool) -> None:
        self.crop, self.flip = crop, flip

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Columns: top and left corner in the padded image; 1 for a mirrored image."""
        options = {"generator": generator, "device": generator.device}
        drawn = torch.zeros(count, 3, device=generator.device)
        if self.crop:
            drawn[:, :2] = torch.randint(0, 2 * self.crop + 1, (count, 2), **options)
        if self.flip:
            drawn[:, 2] = torch.rand(count, **options) < 0.5
        return drawn

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = batch.shape
        top, left, flip = drawn.long()[:, :, None].unbind(1)
        rows = top + torch.arange(height, device=batch.device)
        columns = torch.arange(width, device=batch.device)
        columns = left + columns + flip * (width - 1 - 2 * columns)  # mirrored: width - 1 - column
        source = rows[:, :, None] * (width + 2 * self.crop) + columns[:, None, :]
        padded = F.pad(batch, (self.crop,) * 4).view(count, channels, -1)
        source = source.view(count, 1, -1).expand(-1, channels, -1)
        return padded.gather(2, source).view(count, channels, height, width)


class Rotate:
    """Rotation about the centre by an angle uniform in ±degrees; nearest pixel, zero outside."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """One column: the angle in degrees, counter-clockwise."""
        uniform = torch.rand(count, 1, generator=generator, device=generator.device)
        return (2 * uniform - 1) * self.degrees

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        _, _, height, width = batch.shape
        radians = torch.deg2rad(drawn.view(-1, 1, 1))
        cosine, sine = torch.cos(radians), torch.sin(radians)
        # Turned about the centre, in pixels; grid_sample's own coordinates run over -1..1.
        x = torch.arange(width, device=batch.device) - (width - 1) / 2
        y = torch.arange(height, device=batch.device)[:, None] - (height - 1) / 2
        grid = torch.empty(len(batch), height, width, 2, device=batch.device)
        torch.sub(cosine * (x * (2 / width)), sine * (y * (2 / width)), out=grid[..., 0])
        torch.add(sine * (x * (2 / height)), cosine * (y * (2 / height)), out=grid[..., 1])
        return F.grid_sample(batch, grid, mode="nearest", padding_mode="zeros", align_corners=False)


class Augmenter:
    """Crop, flip, jitter and rotate whole batches; a step at zero (or false) is left out.

    crop: pixels of zero padding. jitter: strength in 0..1. rotate: largest angle in degrees. See `Augment` in
    ablate.spec.settings. Grey images ([B, 1, H, W]) keep only brightness and contrast of the jitter.
    """

    def __init__(self, crop: int = 0, flip: bool = False, jitter: float = 0.0, rotate: float = 0.0) -> None:
        self.steps: tuple[Step, ...] = (
            *((CropFlip(crop, flip),) if crop or flip else ()),
            *((Jitter(jitter),) if jitter else ()),
            *((Rotate(rotate),) if rotate else ()),
        )

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """The parameters of `count` images: one float32 [count, K] for each step."""
        return tuple(step.draw(count, generator) for step in self.steps)

    def apply(self, batch: torch.Tensor, drawn: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Augment a float batch [B, C, H, W] in 0..1 with its parameters ([B, K] each, on the same
        device)."""
        batch = batch.contiguous()
        for step, parameters in zip(self.steps, drawn, strict=True):
            batch = step.apply(batch, parameters)
        return batch

    def __call__(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw and apply. The generator may sit on the CPU or on the batch's device."""
        drawn = self.draw(len(batch), generator)
        return self.apply(batch, tuple(part.to(batch.device, non_blocking=True) for part in drawn))
