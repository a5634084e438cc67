"""Batches of normalised images on the device, in an order that depends on a seed and the epoch alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ablate.data.augment import Augmenter

_RESIDENT_SHARE = 4  # data stay on a GPU when they take less than a quarter of its free memory
_RESIDENT_BYTES = 2**30  # on devices that do not tell their free memory
_AHEAD_BYTES = (
    2**24
)  # float images that a GPU augments in one go: small kernels cost more to start than to run
_AHEAD_FROM = 16  # images a batch: torch's sums over fewer take another order, and results would move


class Batches:
    """Batches (x, y) of some images: x float32 [B, C, H, W], normalised by `mean` and `std`; y int64 [B].

    images: uint8 [N, H, W, C], may be memory-mapped. labels: int64 [N]. indices: rows to use.
    order_generator_seed: shuffles each epoch anew; None: the order of `indices`. A small last batch is kept.
    augment, augment_seed: go together; parameters are drawn on the CPU, the same for every device.
    channels_last: memory format of the batches. share: given the images of a batch, the positions of those to
    yield, as many for every batch of one size; `count` and `len` stay those of all.

    Order and augmentation of an epoch depend on (seed, epoch) alone: a resumed trial goes on exactly as it
    would have. On a GPU with room for them the images lie as uint8 on the device; otherwise each batch is
    gathered from `images` and sent, without waiting.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        *,
        batch_size: int,
        mean: Sequence[float] | np.ndarray,
        std: Sequence[float] | np.ndarray,
        device: str | torch.device,
        augment: Augmenter | None = None,
        order_generator_seed: int | None = None,
        augment_seed: int | None = None,
        channels_last: bool = False,
        share: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        if augment is not None and augment_seed is None:
            raise ValueError("augment needs augment_seed, or every epoch would have to look the same")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.augment = augment if augment is not None and augment.steps else None
        self.order_seed, self.augment_seed = order_generator_seed, augment_seed
        self.channels_last = channels_last
        self._images, self._indices = images, np.asarray(indices, np.int64)
        # Of what this object yields: rows of an epoch (None: all), images a batch, images in whole batches.
        self._rows = None if share is None else _rows_of(share, self.count, batch_size)
        self._size = batch_size if share is None else len(share(batch_size))
        self._whole = self.count // batch_size * self._size
        self._labels = torch.from_numpy(np.asarray(labels, np.int64)[self._indices]).to(self.device)
        std = np.asarray(std, np.float64)
        self._mean = self._per_channel(np.asarray(mean, np.float64))
        self._scale = self._per_channel(1 / np.where(std > 0, std, 1))  # a constant channel becomes zero
        self._resident = self._make_resident() if _fits(self.device, self.count * images[0].nbytes) else None

    @property
    def count(self) -> int:
        """Images an epoch."""
        return len(self._indices)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches (x, y) of one epoch, from the batch `first` on, counted from 0."""
        if self.order_seed is None:
            order = torch.arange(self.count)
        else:
            order = torch.randperm(self.count, generator=_generator(self.order_seed, epoch))
        drawn: tuple[torch.Tensor, ...] = ()
        if self.augment is not None and self.augment_seed is not None:
            drawn = self.augment.draw(self.count, _generator(self.augment_seed, epoch))
            drawn = tuple(self._send(part) for part in drawn)
        if self._rows is not None:
            rows_here = self._send(self._rows)
            order, drawn = order[self._rows], tuple(part[rows_here] for part in drawn)
        order_here = self._send(order)
        for start, end in self._stretches(first):
            here = slice(start, end)
            x = self._normalised(self._gather(order[here], order_here[here]), [part[here] for part in drawn])
            y = self._labels.index_select(0, order_here[here])
            size = self._size if end <= self._whole else end - start
            yield from zip(x.split(size), y.split(size), strict=True)

    def _stretches(self, first: int) -> Iterator[tuple[int, int]]:
        """Images that are prepared in one go, from the batch `first` on: one batch or several whole ones. A
        last batch of another size is one of its own. What becomes of an image does not depend on its
        company."""
        start, step = first * self._size, self._size * self._ahead()
        for begin in range(start, self._whole, step):
            yield begin, min(begin + step, self._whole)
        taken = self.count if self._rows is None else len(self._rows)
        if start <= self._whole < taken:
            yield self._whole, taken

    def _ahead(self) -> int:
        """Batches in one go: one on a CPU, whose caches hold no more."""
        if self.device.type == "cpu" or self._size < _AHEAD_FROM:
            return 1
        batch_bytes = 4 * self._size * int(np.prod(self._images.shape[1:]))
        return max(1, _AHEAD_BYTES // batch_bytes)

    def _gather(self, rows: torch.Tensor, rows_here: torch.Tensor) -> torch.Tensor:
        """uint8 [B, C, H, W] on the device; rows count within `indices`."""
        if self._resident is not None:
            return self._resident.index_select(0, rows_here)
        taken = torch.from_numpy(self._images[self._indices[rows.numpy()]])
        return self._send(taken).permute(0, 3, 1, 2)

    def _normalised(self, pixels: torch.Tensor, drawn: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.augment is None:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
            x = pixels.to(torch.float32, memory_format=layout)
            return x.sub_(255 * self._mean).mul_(self._scale / 255)
        x = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        x = self.augment.apply(x, tuple(drawn)).sub_(self._mean).mul_(self._scale)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        """To the device; from pinned memory where that lets the copy run beside the computation."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _make_resident(self) -> torch.Tensor:
        """All images of `indices` on the device as uint8 [N, C, H, W], sent in pieces."""
        _, height, width, channels = self._images.shape
        resident = torch.empty(self.count, channels, height, width, dtype=torch.uint8, device=self.device)
        for start in range(0, self.count, 8192):
            piece = torch.from_numpy(self._images[self._indices[start : start + 8192]])
            resident[start : start + len(piece)] = piece.to(self.device).permute(0, 3, 1, 2)
        return resident

    def _per_channel(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device).view(1, -1, 1, 1)


def _rows_of(share: Callable[[int], np.ndarray], count: int, batch_size: int) -> torch.Tensor:
    """Where in an epoch of `count` images those of the share stand."""
    starts = range(0, count, batch_size)
    rows = [start + share(min(batch_size, count - start)) for start in starts]
    return torch.from_numpy(np.concatenate(rows) if rows else np.empty(0, np.int64))


def _generator(seed: int, epoch: int) -> torch.Generator:
    """A CPU generator for one epoch: seeds of neighbouring epochs and trials have nothing in common."""
    digest = hashlib.sha256(f"{seed}/epoch {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _fits(device: torch.device, needed: int) -> bool:
    """Whether the images should lie on the device. The CPU reads them from the memory map when needed."""
    if device.type == "cpu":
        return False
    if device.type == "cuda":
        return needed < torch.cuda.mem_get_info(device)[0] // _RESIDENT_SHARE
    return needed < _RESIDENT_BYTES
