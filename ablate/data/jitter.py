"""torchvision's ColorJitter for whole batches: each image with its own factors and order of the four steps.

Brightness, contrast and saturation are one operation, x <- clamp(f * x + (1 - f) * other), with other = 0,
the mean grey of the image, or the grey of each pixel. So three passes over the batch do the three of them in
any order, image by image. Hue falls before, between or after them, for a quarter of the images each.
"""

from __future__ import annotations

import torch

from ablate.errors import DataError

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds them
_SHIFT, _POSITION = 9, 10


class Jitter:
    """Brightness, contrast and saturation by factors uniform in [1 - strength, 1 + strength]; hue by a shift
    uniform in ±min(strength / 4, 0.5) of the circle; in an order drawn for each image."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Columns 3s, 3s + 1, 3s + 2 for pass s = 0, 1, 2: the weight of the pixel, of the image's mean grey
        and of the pixel's grey. Column 9: shift of hue. Column 10: passes that precede it, 0..3."""
        options = {"generator": generator, "device": generator.device}
        low, high = max(0.0, 1 - self.strength), 1 + self.strength
        factors = low + (high - low) * torch.rand(count, 3, **options)
        operation = torch.rand(count, 3, **options).argsort(dim=1)  # 0 brightness, 1 contrast, 2 saturation
        others = (1 - factors) * (operation == 1), (1 - factors) * (operation == 2)
        passes = torch.stack((factors, *others), dim=2).view(count, 9)
        most = min(self.strength / 4, 0.5)
        shift = (2 * torch.rand(count, 1, **options) - 1) * most
        position = torch.randint(0, 4, (count, 1), **options)
        return torch.cat((passes, shift, position), dim=1)

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        channels = batch.shape[1]
        if channels not in (1, 3):
            raise DataError(
                f"colour jitter needs images of 1 or 3 channels, these have {channels}; "
                "set data.augment.jitter to 0"
            )
        if batch.device.type != "cpu" or channels == 1:
            return _apply_to_all(batch.clone(), drawn)
        return _apply_in_groups(batch, drawn)


def _apply_to_all(batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """In place, hue computed for all images at each of its four places: the host needs to know nothing."""
    for number in range(4):
        if batch.shape[1] == 3:
            here = drawn[:, _POSITION, None, None, None] == number
            batch = torch.where(here, shift_hue_(batch.clone(), drawn[:, _SHIFT]), batch)
        if number < 3:
            _blend_(batch, drawn[:, 3 * number : 3 * number + 3])
    return batch


def _apply_in_groups(batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """A new batch, hue computed once for each image: sorted by its place, the images form four slices."""
    order = drawn[:, _POSITION].argsort(stable=True)
    ends = torch.bincount(drawn[:, _POSITION].long(), minlength=4).cumsum(0).tolist()
    batch, drawn = batch.index_select(0, order), drawn.index_select(0, order)
    for number, (start, end) in enumerate(zip([0, *ends[:3]], ends, strict=True)):
        if end > start:
            shift_hue_(batch[start:end], drawn[start:end, _SHIFT])
        if number < 3:
            _blend_(batch, drawn[:, 3 * number : 3 * number + 3])
    return batch.index_select(0, order.argsort())


def _blend_(batch: torch.Tensor, weights: torch.Tensor) -> None:
    """In place: w0 * x + w1 * (mean grey of the image) + w2 * (grey of the pixel), kept within 0..1."""
    pixel, mean, grey = weights[:, :, None, None, None].unbind(1)
    greys = to_grey(batch)
    average = greys.mean(dim=(1, 2, 3), keepdim=True)
    other = (greys * grey).add_(mean * average)  # before the next line: grey images are their own greys
    batch.mul_(pixel).add_(other).clamp_(0, 1)


def to_grey(batch: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] -> [B, 1, H, W]; grey images as they are."""
    if batch.shape[1] == 1:
        return batch
    red, green, blue = batch.split(1, dim=1)
    return (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def shift_hue_(batch: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """In place: turn the hue of RGB images [B, 3, H, W] by shift [B] of a circle; value and saturation stay.

    In units of a sixth of the circle the hue h of a pixel is a distance from its strongest channel, and the
    way back is min + (max - min) * w with w = |h - 3| - 1, 2 - |h - 2|, 2 - |h - 4| for red, green and blue,
    within 0..1.
    """
    red, green, blue = batch.unbind(1)
    most, least = torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)
    chroma = most - least
    scale = chroma.clamp(
        min=1e-12
    ).reciprocal_()  # grey pixels: differences are 0, so any finite number serves
    # Masks as floats and lerp instead of where: the same result at a fraction of the time on the CPU.
    mask = torch.empty_like(most)
    hue = torch.sub(red, green).mul_(scale).add_(4)
    hue.lerp_(torch.sub(blue, red).mul_(scale).add_(2), torch.eq(most, green, out=mask))
    hue.lerp_(torch.sub(green, blue).mul_(scale), torch.eq(most, red, out=mask))
    hue.add_(6 * shift[:, None, None])
    hue.sub_(torch.floor(hue / 6), alpha=6)
    torch.sub(hue, 3, out=red).abs_().sub_(1)
    torch.sub(hue, 2, out=green).abs_().neg_().add_(2)
    torch.sub(hue, 4, out=blue).abs_().neg_().add_(2)
    return batch.clamp_(0, 1).mul_(chroma[:, None]).add_(least[:, None])
