"""What a look shows, as plain arrays: filled from the networks, read by figures, JSON and page alike.

N images are shown, the same for every trial; arrays are float32 unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImageRow:
    """One test image. row: its place in the source's whole test set. pixels: uint8 (H, W, C)."""

    row: int
    label: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What a trial says of one image. confidence: of the predicted class; true_confidence: of its own."""

    predicted: int
    confidence: float
    true_confidence: float


@dataclass(frozen=True)
class LayerRow:
    """Feature maps of one layer.

    shape: (C, H, W) for one image. channels: the K shown, by falling mean |value| over all images. maps:
    (N, K, H, W). top: int64 (N, k), the channels with the largest mean |value| over the positions of each
    image, that is top_response (N, k); top_maps: (N, k, H, W).
    """

    layer: str
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    maps: Array
    top: NDArray[np.int64]
    top_response: Array
    top_maps: Array


@dataclass(frozen=True)
class GateFigures:
    """How far a gate is from constant, over `images` images of the test set.

    over_images: root mean square, over the gate's elements, of the standard deviation over the images.
    over_elements: standard deviation, over the elements, of the mean over the images. between_classes: share
    of the variance over images that lies between the means of the classes; `by_chance` is what pure chance
    would give. from_start: root mean square of the difference from what the gate's weights at the start of
    training give for the same maps. All but the share are relative to `mean`. changed: predictions that
    become others when each element is replaced by its mean over the images. None: not known.
    """

    images: int
    mean: float
    low: float
    high: float
    over_images: float
    over_elements: float
    between_classes: float | None
    by_chance: float | None
    from_start: float | None
    changed: int | None


@dataclass(frozen=True)
class GateRow:
    """One gate of one attention module.

    name: the submodule, with a number where it gives several gates. kind: `channel` (one weight a channel),
    `spatial` (one a position), or `both`. shape: for one image. verdict: constant | as it began | static |
    the same for every image | depends on its image. sentence: the verdict with its figures. element_mean,
    element_std: over the images, of `shape`. class_means: (classes, *shape), NaN for a class without an image
    in the sample. maps: (N, H, W), the mean over the channels, None for a channel gate. weights: (N,
    elements), the gate of each shown image, None for a gate with positions.
    """

    place: str
    name: str
    kind: str
    shape: tuple[int, ...]
    figures: GateFigures
    verdict: str
    sentence: str
    element_mean: Array
    element_std: Array
    class_means: Array
    maps: Array | None
    weights: Array | None

    @property
    def label(self) -> str:
        """`block2, channel gate`; of a mechanism that calls its only gate so, `block2, gate`."""
        return f"{self.place}, {self.name if self.name.startswith('gate') else f'{self.name} gate'}"

    @property
    def learned_nothing(self) -> bool:
        return self.verdict in ("constant", "as it began")

    @property
    def depends(self) -> bool:
        return self.verdict == "depends on its image"


@dataclass(frozen=True)
class BranchRow:
    """The branches of a module that looks at several scales.

    names: of the branches. maps: (N, branches, H, W), the mean |value| over the channels. strength:
    (N, branches), its mean over the positions.
    """

    place: str
    names: tuple[str, ...]
    maps: Array
    strength: Array


@dataclass(frozen=True)
class AttentionRow:
    """Where positions look in self-attention. part: "", or the axis. queries: (row, column) of each.

    maps: (N, queries, H, W), the mean over the heads; each sums to 1.
    """

    place: str
    part: str
    queries: tuple[tuple[int, int], ...]
    maps: Array


@dataclass(frozen=True)
class ChangeRow:
    """What an attention module changes. maps: (N, H, W), |output − input| / |input|, over channels."""

    place: str
    maps: Array


@dataclass(frozen=True)
class CamRow:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) after `layer`, for the predicted and the true class.

    (N, H, W) of the layer's own size, not scaled.
    """

    layer: str
    predicted: Array
    true: Array


@dataclass(frozen=True)
class TrialLook:
    """One trial, by the plan's name of its variant. accuracy: percent, of the weights that are shown."""

    variant: str
    seed: int
    trial: str
    accuracy: float | None
    predictions: tuple[Prediction, ...]
    layers: tuple[LayerRow, ...] = ()
    gates: tuple[GateRow, ...] = ()
    branches: tuple[BranchRow, ...] = ()
    attention: tuple[AttentionRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    cam: CamRow | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.variant}, seed {self.seed}"


@dataclass(frozen=True)
class Look:
    """A whole look at a study. left_out: what could not be shown, and why, in sentences."""

    study: str
    title: str
    baseline: str
    classes: tuple[str, ...]
    images: tuple[ImageRow, ...]
    chosen: str
    trials: tuple[TrialLook, ...]
    layers: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def title_of(self, trial: TrialLook, image: int) -> str:
        """What stands over a picture: the true class, and the predicted one with its confidence."""
        said = trial.predictions[image]
        true = self.classes[self.images[image].label]
        return f"true {true}\npredicted {self.classes[said.predicted]} {100 * said.confidence:.0f} %"
