"""The studies of `scripts/gpu.sh`, the most valuable for a minute first, each with what makes it small."""

from __future__ import annotations

from dataclasses import dataclass

SMALL = ("seeds=[0, 1]", "train.epochs=2", "data.fraction=0.02")
SMALL_CNN = (*SMALL, "model.args={width: 0.125}")
SMALL_VGG = (*SMALL, "model.args={width: 0.0625}", "data.image_size=32", "data.augment={crop: 2, flip: true}")
FIVE_ROWS = ("baseline", "multi-scale", "multi-scale+channel", "multi-scale+spatial", "msa")


@dataclass(frozen=True)
class Job:
    """One run of `ablate run`. jobs: workers that share the GPU. only: variants; all where none is named.

    settings: overrides. small: more of them, and small_only: variants, of a run that tries the script.
    """

    name: str
    study: str
    jobs: int
    settings: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    small: tuple[str, ...] = SMALL_CNN
    small_only: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} ({', '.join(self.only)})" if self.only else self.name


JOBS = (
    Job("cnn-se", "cnn-se", 12, small_only=("baseline", "se")),
    Job(
        "msa-cifar10",
        "msa",
        12,
        # The study is made for minutes on two cores: here the network has its full width, and time to learn.
        settings=(
            "title=What does each part of multi-scale attention buy on CIFAR-10?",
            "model.args={}",
            "train.epochs=30",
            "train.batch_size=128",
            "train.optimizer.lr=1e-3",
            "data.augment={crop: 4, flip: true}",
        ),
        small_only=("baseline", "msa"),
    ),
    Job("vgg16-msa", "vgg16-msa", 4, only=FIVE_ROWS, small=SMALL_VGG, small_only=("baseline", "msa")),
    Job("dynamic-or-static", "dynamic-or-static", 12, small_only=("se", "se static")),
    Job(
        "few-images",
        "few-images",
        12,
        small=("seeds=[0, 1]", "train.steps=2", "train.batch_size=32", "model.args={width: 0.125}"),
        small_only=("baseline", "msa", "* fraction=0.05"),
    ),
    Job("mechanisms", "mechanisms", 12, small_only=("baseline", "axial")),
    Job(
        "resnet18-cbam",
        "gpu/resnet18-cbam",
        4,
        small=(
            "seeds=[0, 1]",
            "data.fraction=0.02",
            "data.image_size=32",
            "data.augment={crop: 2, flip: true}",
            "model.args={width: 0.125}",
            "train.stages=[{epochs: 1, train: [fc, attention]}, {epochs: 1, train: ['*']}]",
            "pretraining={five classes: {data.classes: [0, 1, 2, 3, 4], model.weights: null, "
            "model.attention: null, train.stages: [], train.epochs: 1}}",
        ),
        small_only=("baseline", "cbam"),
    ),
    Job("vgg16-costs-gpu", "cpu/vgg16-costs", 1, small=("model.args={width: 0.0625}",)),
    Job("cnn-se-costs-gpu", "cpu/cnn-se-costs", 1, small=()),
    Job("vgg16-msa", "vgg16-msa", 4, small=SMALL_VGG, small_only=("baseline", "msa reduction=4")),
)
