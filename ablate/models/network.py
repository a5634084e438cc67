"""A backbone with attention attached: each initialised from a stream of its own, and separable again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ablate.models.attach import Place, find_places, hook_after, unhook
from ablate.models.attention import build_attention, is_absent
from ablate.models.backbones import build_backbone
from ablate.models.construct import ModelError, reason
from ablate.models.dry_run import run_copy
from ablate.models.weights import load_attention, load_backbone, open_weights
from ablate.record import AttachedModule


class Network(nn.Module):
    """(B, C, H, W) -> (B, classes).

    backbone: keeps its own names in its state dict. attention: the attached modules, keyed by path with "."
    replaced by "/". attached: the same for records. notes: what a user should know, in words, each with its
    path.
    """

    def __init__(self, backbone: nn.Module, placed: Sequence[tuple[Place, nn.Module]] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = nn.ModuleDict({place.path.replace(".", "/"): module for place, module in placed})
        self.attached = tuple(
            AttachedModule(
                path=place.path,
                channels=place.channels,
                param_count=sum(parameter.numel() for parameter in module.parameters()),
            )
            for place, module in placed
        )
        self.notes = tuple(
            f"{place.path}: {note}" for place, module in placed for note in _notes(module, place)
        )
        for place, module in placed:
            hook_after(backbone.get_submodule(place.path), module)

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def detach_attention(self) -> nn.Module:
        """Take the attention off and give back the backbone, bit for bit as it is without."""
        for module in self.attached:
            unhook(self.backbone.get_submodule(module.path))
        self.attention, self.attached, self.notes = nn.ModuleDict(), (), ()
        return self.backbone


def build_network(
    *,
    backbone: str,
    args: Mapping[str, Any],
    attention: tuple[str, Mapping[str, Any], Sequence[str]] | None,
    classes: int,
    image_shape: tuple[int, int, int],
    backbone_seed: int,
    attention_seed: int,
    weights: Path | None = None,
    other_classes: bool = False,
    place: str = "after",
    gate: str = "own",
) -> Network:
    """The network that a variant describes, on the CPU; under ``torch.device("meta")`` on the meta device.

    attention: (name, args, places) or None; one with every switch off is None. image_shape: (C, H, W). The
    same `backbone_seed` gives the same backbone bit for bit, whatever is attached; each attention module is
    drawn from `attention_seed` and its own path, so another position more or less changes none of them. The
    global random state stays as it was. weights: a file that goes into the backbone before attention is
    attached, as `load_weights` describes; on the meta device only its names and shapes are checked.
    other_classes: its head is for others, and starts fresh. place: ``after`` the modules or ``before-add``,
    see `find_places`. gate: see `ablate.models.gates`. Raises ModelError, WeightsError for the file, or
    PlaceError for a place.
    """
    with _seeded(backbone_seed):
        bare = build_backbone(backbone, classes=classes, image_shape=image_shape, args=args)
        _settle(backbone, bare, image_shape)
        _check_output(backbone, bare, classes, image_shape)
    for_backbone, for_attention = open_weights(weights, bare) if weights else ({}, {})
    notes: tuple[str, ...] = ()
    if weights:
        notes = load_backbone(bare, for_backbone, weights, classes=classes, other_classes=other_classes)
    if attention is None or is_absent(attention[0], attention[1]):
        network = Network(bare)
    else:
        name, attention_args, at = attention

        def build(spot: Place) -> nn.Module:
            return build_attention(name, spot.channels, attention_args, gate=gate, map_shape=spot.shape[1:])

        network = attach_attention(bare, at, build, image_shape=image_shape, seed=attention_seed, place=place)
    network.notes = (*notes, *load_attention(network.attention, for_attention), *network.notes)
    return network


def attach_attention(
    backbone: nn.Module,
    at: Sequence[str],
    build: Callable[[Place], nn.Module],
    *,
    image_shape: Sequence[int],
    seed: int,
    place: str = "after",
) -> Network:
    """Any backbone with ``build(place)`` at each place that `at` names: after the modules, or, with `place`
    ``before-add``, on the branches of the residual blocks before their additions.

    Raises PlaceError, or ModelError for a module that does not keep the shape of its map.
    """
    placed = []
    with _seeded(seed):
        found = find_places(backbone, at, image_shape, place)
    for spot in found:
        if hasattr(backbone.get_submodule(spot.path), "_ablate_attention"):
            raise ModelError(f"{spot.path!r} already has attention attached; detach it first")
        with _seeded(_path_seed(seed, spot.path)):
            module = build(spot)
            _check_shape_kept(module, spot)
        placed.append((spot, module))
    return Network(backbone, placed)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The CPU's generator at `seed` inside, as before outside. Other devices' generators are not touched."""
    generator = torch.random.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def _path_seed(seed: int, path: str) -> int:
    """The first eight bytes of SHA-256("seed/path"), without sign."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:8], "big") >> 1


def _settle(name: str, backbone: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Lazy layers draw their weights at the first forward: that must happen in the backbone's own stream."""
    if any(is_lazy(parameter) for parameter in backbone.parameters()):
        with torch.no_grad(), _refused_image(name, image_shape):
            backbone.eval()(torch.zeros((2, *image_shape)))
        backbone.train()


def _check_output(name: str, backbone: nn.Module, classes: int, image_shape: tuple[int, int, int]) -> None:
    """Raises ModelError unless two images give (2, classes)."""
    with _refused_image(name, image_shape):
        output, _ = run_copy(backbone, (2, *image_shape))
    given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if given == (2, classes):
        return
    hint = (
        "" if isinstance(output, Tensor) else "\n    wrap it in a function of your own that keeps the logits"
    )
    raise ModelError(
        f"backbone {name!r} gives {given} for 2 images of {_size(image_shape)};"
        f" expected (2, {classes}) logits{hint}"
    )


@contextmanager
def _refused_image(name: str, image_shape: tuple[int, int, int]) -> Iterator[None]:
    try:
        yield
    except (
        Exception,
        SystemExit,
    ) as error:  # others' code, may fail in any way
        raise ModelError(
            f"backbone {name!r} cannot take an image of {_size(image_shape)}: {reason(name, error)}"
        ) from error


def _size(image_shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, image_shape))


def _check_shape_kept(module: nn.Module, place: Place) -> None:
    """In evaluation, and on the meta device, where a network is built to be looked at, in training too: a
    module may take another way there."""
    shape = (2, *place.shape)
    for training in (False, True) if torch.empty(0).is_meta else (False,):
        mode = " in training mode" if training else ""
        try:
            output, _ = run_copy(module, shape, training=training)
        except (MemoryError, torch.OutOfMemoryError):
            raise  # no fault of the module's, and told apart by its kind
        except (Exception, SystemExit) as error:  # a library's or a user's forward, may fail in any way
            package = type(module).__module__.partition(".")[0]
            why = reason("" if package in ("ablate", "torch", "timm") else f"{package}:", error)
            message = f"attention at {place.path!r} cannot take a map of {shape}{mode}: {why}"
            raise ModelError(message) from error
        if not isinstance(output, Tensor) or tuple(output.shape) != shape:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"attention at {place.path!r} turns a map of {shape} into {given}{mode}; it must keep the "
                "shape"
            )


def _notes(module: nn.Module, place: Place) -> tuple[str, ...]:
    map_notes = getattr(module, "map_notes", None)
    return (*getattr(module, "notes", ()), *(map_notes(*place.shape[1:]) if map_notes else ()))
