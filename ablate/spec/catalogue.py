"""What a study file can name, and with which arguments: mechanisms, backbones, optimisers, schedules,
sources.

These literal dicts let `validate` check every argument without importing torch. A test holds each entry
against the signature of the class or function that it stands for, so the two cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ablate.spec.settings import ScheduleSettings


@dataclass(frozen=True, slots=True)
class Argument:
    """One keyword argument: its kind, default and range.

    minimum, maximum: inclusive; above, below: exclusive. optional: null is allowed. length: a list of so many
    values, of which one may be null where the default's is. odd: even numbers are refused. choices: the only
    texts. joined_later: newer than the entry's first version; at its default it leaves no trace in a
    variant's identity, so that trials trained before it existed keep theirs.
    """

    kind: Literal["int", "float", "bool", "str"]
    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    optional: bool = False
    length: int | None = None
    odd: bool = False
    choices: tuple[str, ...] = ()
    joined_later: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A thing with a name.

    switches: its on/off arguments; with all of them off it is as good as absent. gates: it is a mechanism
    that gates, so that model.attention.gate has something to act on.
    """

    doc: str
    args: Mapping[str, Argument]
    switches: tuple[str, ...] = ()
    gates: bool = False


@dataclass(frozen=True, slots=True)
class Optimizer:
    """One class of torch.optim; `args` are what it takes beyond lr and weight_decay."""

    torch_name: str
    args: Mapping[str, Argument]
    weight_decay: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """A data set by name."""

    doc: str
    needs_root: bool = False


_REDUCTION = Argument("int", 16, "r: the gate's hidden width is max(1, C // r)", minimum=1)
_HEADS = Argument(
    "int", 4, "attention heads; the largest number below it that divides dim if it does not", minimum=1
)
_DIM = Argument("int", None, "d: width of query, key and value; null: C", minimum=1, optional=True)
_POSITION = Argument(
    "str",
    "sinusoidal",
    "how a position is told where it lies; learned and relative belong to one size of map",
    choices=("none", "learned", "sinusoidal", "relative"),
)

ATTENTION: dict[str, Entry] = {
    "axial": Entry(
        "axial attention (Ho et al. 2019): self-attention along the columns, then along the rows",
        {"heads": _HEADS, "dim": _DIM, "position": _POSITION},
    ),
    "cbam": Entry(
        "CBAM (Woo et al. 2018): a channel gate, then a spatial gate",
        {
            "reduction": _REDUCTION,
            "kernel": Argument("int", 7, "side of the spatial gate's convolution", minimum=1, odd=True),
            "channel": Argument("bool", True, "the channel gate; off: 1"),
            "spatial": Argument("bool", True, "the spatial gate; off: 1"),
        },
        switches=("channel", "spatial"),
        gates=True,
    ),
    "coordinate": Entry(
        "coordinate attention (Hou et al. 2021): a gate for every row and one for every column",
        {"reduction": Argument("int", 32, "r: the gate's hidden width is max(8, C // r)", minimum=1)},
        gates=True,
    ),
    "eca": Entry(
        "efficient channel attention (Wang et al. 2020): each channel is gated by its neighbours",
        {
            "kernel": Argument(
                "int", None, "neighbours; null: from gamma and beta", minimum=1, odd=True, optional=True
            ),
            "gamma": Argument("float", 2.0, "the kernel grows with log2(C) / gamma", above=0),
            "beta": Argument("float", 1.0, "added to log2(C)"),
        },
        gates=True,
    ),
    "grouped": Entry(
        "spatial group-wise enhance (Li et al. 2019): each group of channels gates its positions",
        {
            "groups": Argument(
                "int", 8, "of channels; the largest number below it that divides C if it does not", minimum=1
            )
        },
        gates=True,
    ),
    "linear": Entry(
        "efficient attention (Shen et al. 2018): self-attention at a cost linear in the positions",
        {"heads": _HEADS, "dim": _DIM},
    ),
    "msa": Entry(
        "multi-scale attention: three convolution branches, a channel gate and a spatial gate",
        {
            "reduction": _REDUCTION,
            "multi_scale": Argument("bool", True, "the 1×1, 3×3 and 5×5 branches; off: F(x) = x"),
            "channel": Argument("bool", True, "the channel gate; off: 1"),
            "spatial": Argument("bool", True, "the spatial gate; off: 1"),
            "deformable": Argument(
                "bool", False, "deformable 3×3 and 5×5 branches, by torchvision", joined_later=True
            ),
        },
        switches=("multi_scale", "channel", "spatial"),
        gates=True,
    ),
    "se": Entry(
        "squeeze-and-excitation (Hu et al. 2018): scales the channels",
        {"reduction": _REDUCTION},
        gates=True,
    ),
    "selective-kernel": Entry(
        "selective kernel (Li et al. 2019): mixes branches of growing receptive fields for each channel",
        {
            "reduction": Argument("int", 16, "r: the gate's hidden width is max(32, C // r)", minimum=1),
            "branches": Argument("int", 2, "3×3 convolutions of dilation 1, 2, …", minimum=2, maximum=16),
            "groups": Argument(
                "int",
                32,
                "of each convolution; the largest number below it that divides C if it does not",
                minimum=1,
            ),
        },
        gates=True,
    ),
    "self-attention": Entry(
        "self-attention over all positions of the map (Vaswani et al. 2017), with a residual",
        {"heads": _HEADS, "dim": _DIM, "position": _POSITION},
    ),
}

_WIDTH = "multiplies the numbers of channels and of hidden units"

BACKBONES: dict[str, Entry] = {
    "cnn": Entry(
        "three blocks of Conv3, BatchNorm, ReLU, MaxPool2 and two linear layers",
        {
            "width": Argument("float", 1.0, "multiplies the 32, 64, 128 channels", above=0, maximum=64),
            "dropout": Argument("float", 0.5, "between the linear layers", minimum=0, below=1),
            "hidden": Argument(
                "int", None, "features of the first linear layer; null: 512 × width", minimum=1, optional=True
            ),
        },
    ),
    "resnet18": Entry(
        "eight residual blocks, torchvision's module names",
        {"width": Argument("float", 1.0, _WIDTH, above=0, maximum=64)},
    ),
    "vgg16": Entry(
        "13 convolutions and 3 linear layers, torchvision's module names",
        {
            "batch_norm": Argument("bool", False, "a batch norm after each convolution; shifts the numbers"),
            "width": Argument("float", 1.0, _WIDTH, above=0, maximum=64),
            "dropout": Argument("float", 0.5, "between the linear layers", minimum=0, below=1),
        },
    ),
}

_MOMENTUM = Argument("float", 0.0, "momentum factor", minimum=0)
_BETAS = Argument("float", (0.9, 0.999), "decay of the two running averages", minimum=0, below=1, length=2)
_EPS = Argument("float", 1e-8, "added to the denominator", minimum=0)
_DECOUPLED = Argument("bool", False, "weight decay as in AdamW")
_AMSGRAD = Argument("bool", False, "keep the largest second moment")

# Left out: LBFGS (needs a closure), SparseAdam (sparse gradients), Muon (matrices only; not in every torch >=
# 2.6).
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(
        "SGD",
        {
            "momentum": _MOMENTUM,
            "dampening": Argument("float", 0.0, "dampening of the momentum", minimum=0),
            "nesterov": Argument("bool", False, "Nesterov momentum; needs momentum > 0 and no dampening"),
        },
    ),
    "adam": Optimizer("Adam", {"betas": _BETAS, "eps": _EPS, "amsgrad": _AMSGRAD}),
    "adamw": Optimizer("AdamW", {"betas": _BETAS, "eps": _EPS, "amsgrad": _AMSGRAD}),
    "nadam": Optimizer(
        "NAdam",
        {
            "betas": _BETAS,
            "eps": _EPS,
            "momentum_decay": Argument("float", 4e-3, "momentum decay", minimum=0),
            "decoupled_weight_decay": _DECOUPLED,
        },
    ),
    "radam": Optimizer("RAdam", {"betas": _BETAS, "eps": _EPS, "decoupled_weight_decay": _DECOUPLED}),
    "rmsprop": Optimizer(
        "RMSprop",
        {
            "alpha": Argument("float", 0.99, "smoothing constant", minimum=0),
            "eps": _EPS,
            "momentum": _MOMENTUM,
            "centered": Argument("bool", False, "normalise by the estimated variance"),
        },
    ),
    "adagrad": Optimizer(
        "Adagrad",
        {
            "lr_decay": Argument("float", 0.0, "decay of the learning rate", minimum=0),
            "initial_accumulator_value": Argument("float", 0.0, "start of the sum of squares", minimum=0),
            "eps": Argument("float", 1e-10, "added to the denominator", minimum=0),
        },
    ),
    "adadelta": Optimizer(
        "Adadelta",
        {
            "rho": Argument("float", 0.9, "decay of the running average", minimum=0, maximum=1),
            "eps": Argument("float", 1e-6, "added to the denominator", minimum=0),
        },
    ),
    "adamax": Optimizer("Adamax", {"betas": _BETAS, "eps": _EPS}),
    "asgd": Optimizer(
        "ASGD",
        {
            "lambd": Argument("float", 1e-4, "decay term", minimum=0),
            "alpha": Argument("float", 0.75, "power of the learning rate's decay", minimum=0),
            "t0": Argument("float", 1e6, "step at which averaging starts", minimum=0),
        },
    ),
    "rprop": Optimizer(
        "Rprop",
        {
            "etas": Argument("float", (0.5, 1.2), "factors of decrease and increase", above=0, length=2),
            "step_sizes": Argument("float", (1e-6, 50.0), "smallest and largest step", above=0, length=2),
        },
        weight_decay=False,
    ),
    "adafactor": Optimizer(
        "Adafactor",
        {
            "beta2_decay": Argument("float", -0.8, "decay rate of beta2", maximum=0),
            "eps": Argument(
                "float", (None, 1e-3), "regularisation of squares and of the step", minimum=0, length=2
            ),
            "d": Argument("float", 1.0, "clipping threshold", minimum=1),
        },
    ),
}

SCHEDULES: dict[str, dict[str, Argument]] = {
    "constant": {},
    "plateau": {
        "factor": Argument(
            "float", 0.1, "multiplies the rate when the validation loss stalls", above=0, below=1
        ),
        "patience": Argument("int", 3, "epochs without improvement before that", minimum=0),
    },
    "step": {
        "step_size": Argument("int", 5, "epochs between two drops", minimum=1),
        "gamma": Argument("float", 0.1, "multiplies the rate at a drop", above=0, maximum=1),
    },
    "cosine": {
        "warmup": Argument("float", 0.0, "epochs of linear rise at the start", minimum=0),
        "floor": Argument("float", 0.0, "the last rate as a fraction of lr", minimum=0, below=1),
    },
}

SOURCES: dict[str, Source] = {
    "digits": Source("scikit-learn's 1,797 digits, 8×8, one channel"),
    "fashion-mini": Source("8,000 images of Fashion-MNIST, shipped with the package"),
    "fashion-mnist": Source("70,000 images, 28×28, one channel"),
    "cifar10": Source("60,000 images, 32×32, ten classes"),
    "cifar100": Source("60,000 images, 32×32, a hundred classes"),
    "image-folder": Source("root/{train,test}/<class>/*", needs_root=True),
}

METRICS: dict[str, str] = {
    "accuracy": "percent of the test images",
    "param_count": "parameters of the network",
    "macs": "multiply-adds of one image",
    "latency_ms": "milliseconds of one image, forward",
    "peak_memory_bytes": "bytes at the peak of a training step",
}


def describe(entries: Mapping[str, Entry] | Mapping[str, Source]) -> str:
    """The entries as lines for `ablate ls`: name, what it is, and its arguments with their defaults."""
    width = max(map(len, entries))
    lines = []
    for name, entry in entries.items():
        lines.append(f"{name:<{width}}  {entry.doc}")
        for key, argument in entry.args.items() if isinstance(entry, Entry) else ():
            default = json.dumps(argument.default)  # as YAML has it, too: null, true, 1.0
            choices = f" ({', '.join(argument.choices)})" if argument.choices else ""
            lines.append(f"{'':<{width}}    {key}: {default}  {argument.doc}{choices}")
    return "\n".join(lines)


def with_defaults(args: Mapping[str, Any], catalogued: Mapping[str, Argument]) -> dict[str, Any]:
    """All arguments of an entry, those not given at their defaults; floats as floats, tuples as lists."""
    filled = {name: argument.default for name, argument in catalogued.items()} | dict(args)
    return {name: _plain(value, catalogued.get(name)) for name, value in filled.items()}


def schedule_arguments(schedule: ScheduleSettings) -> dict[str, Any]:
    """The keys that belong to this schedule, those not given (null) at their defaults."""
    catalogued = SCHEDULES[schedule.name]
    given = {name: getattr(schedule, name) for name in catalogued}
    return with_defaults({name: value for name, value in given.items() if value is not None}, catalogued)


def _plain(value: Any, argument: Argument | None) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item, argument) for item in value]
    if (
        argument is not None
        and argument.kind == "float"
        and isinstance(value, int)
        and not isinstance(value, bool)
    ):
        return float(value)
    return value
