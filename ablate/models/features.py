"""Feature maps of a network, with its attention, for what is built on a backbone: detection, segmentation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ablate.errors import did_you_mean
from ablate.models.attach import find_places
from ablate.models.construct import ModelError


class FeatureMaps(nn.Module):
    """(B, C, H, W) -> {name: (B, c, h, w)}, in the order of `places`.

    places: {module path of the backbone: name of its map}. A map is what the module gives the rest of the
    network: with attention, if attention sits there. The network runs only as far as the last of them, so the
    image may have any size that the layers up to there take, and their head gets no gradient. `network` is
    not changed; its parameters are this module's.

    The mapping is what `torchvision.ops.FeaturePyramidNetwork` takes. Raises ModelError for a path that is
    not there.
    """

    def __init__(self, network: nn.Module, places: Mapping[str, str]) -> None:
        super().__init__()
        if not places:
            raise ModelError("feature maps of no place: name at least one module")
        if len(set(places.values())) != len(places):
            raise ModelError(f"two feature maps have one name: {', '.join(places.values())}")
        self.network = network
        self.places = dict(places)
        known = [path for path, _ in self.backbone.named_modules() if path]
        for path in places:
            if path not in known:
                hint = did_you_mean(path, known)
                raise ModelError(f"the backbone has no module {path!r}" + (f"\n    {hint}" if hint else ""))

    @property
    def backbone(self) -> nn.Module:
        """The network without its wrapper of attached modules, which act where they sit all the same."""
        return self.network.backbone if hasattr(self.network, "detach_attention") else self.network

    def channels(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Channels of each map, in order. image_shape: (C, H, W). Raises PlaceError for a module that gives
        no feature map, or runs more than once."""
        places = find_places(self.backbone, list(self.places), image_shape)
        found = {place.path: place.channels for place in places}
        return tuple(found[path] for path in self.places)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Raises ModelError when a map did not come, is no (B, C, H, W) tensor, or was overwritten."""
        maps: dict[str, Tensor] = {}
        versions: dict[str, int] = {}

        def keep(path: str, output: Tensor) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ModelError(f"{path!r} gives no feature map (B, C, H, W) but {given}")
            maps[path] = output
            versions[path] = 0 if output.is_inference() else output._version
            if len(maps) == len(self.places):
                raise _AllThere

        # Hooks run in the order they were made: attention's, made before, has acted on the output already.
        hooks = [
            self.backbone.get_submodule(path).register_forward_hook(
                lambda _module, _inputs, output, path=path: keep(path, output)
            )
            for path in self.places
        ]
        try:
            self.backbone(x)
        except _AllThere:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        for path in self.places:
            if path not in maps:
                raise ModelError(f"{path!r} did not run in this forward")
            if not maps[path].is_inference() and maps[path]._version != versions[path]:
                raise ModelError(
                    f"the map of {path!r} was overwritten in place by a module after it; take that one's"
                )
        return OrderedDict((name, maps[path]) for path, name in self.places.items())


class _AllThere(Exception):
    """Ends a forward pass whose last wanted map has come."""
