"""Which axis of a map holds its channels: (B, C, H, W), or (B, H, W, C) as in Swin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ablate.models.dry_run import watch_while_it_runs

Shape = tuple[int, ...]


def misplaced_channels(
    backbone: nn.Module, image_shape: Sequence[int], shapes: Mapping[str, Shape]
) -> dict[str, str]:
    """{path: why its map is not (B, C, H, W)} for those of `shapes`, {path: 4-D shape}, where it is not.

    A square image gives square maps, and their shape says where the channels are. Where it does not, an image
    of twice the size tells: the channels are the axis that does not grow.
    """
    square = image_shape[1] == image_shape[2]
    unclear = [path for path, (_, c, h, w) in shapes.items() if not (square and h == w != c)]
    if not unclear:
        return {}
    channels, height, width = image_shape
    larger = watch_while_it_runs(backbone, (2, channels, 2 * height, 2 * width), unclear)
    reasons = {}
    for path in unclear:
        reason = _reason(shapes[path], next(iter(larger[path]), None), square)
        if reason:
            reasons[path] = f"its output has the shape {shapes[path]}, {reason}"
    return reasons


def _reason(shape: Shape, larger: object, square: bool) -> str | None:
    channels_last = "channels last (B, H, W, C), not that of a feature map (B, C, H, W)"
    grown = [False] * 4
    if isinstance(larger, Tensor) and larger.ndim == 4:
        grown = [small != large for small, large in zip(shape, larger.shape, strict=True)]
    if not any(grown):  # pooled to a fixed size, or made for this image size alone
        return channels_last if square and shape[1] == shape[2] != shape[3] else None
    if not grown[1]:
        return None
    if grown[2] and not grown[3]:
        return channels_last
    return "and its second axis, the channels', grows with the image"
