"""Weights on disk: where a library's own lie, and what is in a file.

Only tensors are ever read: safetensors, or a state dict under torch's weights-only loader, never a pickle
that could run code.
"""

from __future__ import annotations

import os
import pickle
import socket
import urllib.request
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import safetensors
import torch
from torch import Tensor

from ablate.environment import require_torchvision
from ablate.errors import AblateError, MachineError
from ablate.models.backbones.from_timm import pretrained_config
from ablate.models.construct import ModelError

# Keys under which training scripts keep the state dict beside epochs and optimisers
CONTAINERS = ("state_dict", "model_state_dict", "model", "network", "net")
# What wrappers put in front of every name: data parallel training, and torch.compile
WRAPPERS = ("module.", "_orig_mod.")
REACH_S = 10.0  # for a connection to a hub
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class WeightsError(ModelError):
    """A weights file that is absent, cannot be read safely, or does not fit the network."""


def locate_weights(backbone: str, weights: str, args: Mapping[str, Any] | None = None) -> Path:
    """The file that `model.weights` stands for; ``default`` is fetched when it is not there yet.

    backbone, args: as the study names them. weights: ``default`` or a path. Raises WeightsError for a path
    without a file or a backbone without default weights; MachineError, saying which file to put where, when
    fetching fails.
    """
    if weights != "default":
        path = Path(weights).expanduser()
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "there is no such file"
            raise WeightsError(
                f"model.weights: {weights!r}: {found} (looked for {path.absolute()})"
                "\n    allowed: null, default, or the path of a safetensors file or a state dict"
            )
        return path
    library, _, model = backbone.partition(":")
    if backbone == "vgg16":
        library, model = "torchvision", "vgg16_bn" if (args or {}).get("batch_norm") else "vgg16"
    elif backbone == "resnet18":
        library, model = "torchvision", "resnet18"
    if library == "torchvision":
        return _of_torchvision(backbone, model)
    if library == "timm":
        return _of_timm(backbone, model)
    raise WeightsError(
        f"model.weights: there are no default weights for {backbone!r}"
        "\n    allowed: null, or the path of a safetensors file or a state dict"
    )


def _of_torchvision(backbone: str, model: str) -> Path:
    require_torchvision()
    from torchvision import models

    if model not in models.list_models(module=models):
        raise WeightsError(f"torchvision has no classification model {model!r}")
    members = list(models.get_model_weights(model))
    if not members:
        raise WeightsError(f"model.weights: torchvision has no weights for {backbone!r}; set it to null")
    return _fetched(backbone, models.get_model_weights(model).DEFAULT.url)


def _of_timm(backbone: str, model: str) -> Path:
    config = pretrained_config(model)
    if config is None or not (config.hf_hub_id or config.url) or config.custom_load:
        raise WeightsError(
            f"model.weights: timm has no weights for {backbone!r} in a format that can be loaded"
            "\n    allowed: null, or the path of a safetensors file or a state dict"
        )
    if not config.hf_hub_id:
        return _fetched(backbone, config.url)
    return _from_hub(backbone, config.hf_hub_id, config.hf_hub_filename)


def _fetched(backbone: str, url: str) -> Path:
    """A file of torch's own cache, downloaded and checked against the hash in its name if it is not there."""
    name = Path(urlparse(url).path).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if file.is_file():
        return file
    digest = torch.hub.HASH_REGEX.search(name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), digest.group(1) if digest else None, progress=False)
    except (OSError, RuntimeError) as error:  # no network, no room, or another content
        raise MachineError(
            f"the default weights of {backbone!r} are not here and cannot be fetched: {error}"
            f"\n    put {url}\n    at {file}, or set model.weights to where you keep that file"
        ) from error
    return file


def _from_hub(backbone: str, repository: str, filename: str | None) -> Path:
    """A file of the Hugging Face hub, from its cache if it is there."""
    import huggingface_hub as hub

    name, _, revision = repository.partition("@")
    candidates = (filename,) if filename else HUB_FILES
    for candidate in candidates:
        cached = hub.try_to_load_from_cache(name, candidate, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    failure = _out_of_reach(hub.constants.ENDPOINT)
    for candidate in candidates if failure is None else ():
        try:
            return Path(hub.hf_hub_download(name, candidate, revision=revision or None))
        except hub.errors.EntryNotFoundError as error:
            failure = error
            if isinstance(error, hub.errors.LocalEntryNotFoundError):
                break  # not absent from the hub, but no network
        except Exception as error:  # of whichever library the hub's client speaks HTTP with
            failure = error
            break
    cache = Path(hub.constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    message = str(failure or "").strip().splitlines()
    raise MachineError(
        f"the default weights of {backbone!r} are not here and cannot be fetched:"
        f" {message[0] if message else type(failure).__name__}"
        f"\n    where there is a network: hf download {name} {candidates[0]}"
        f"\n    then copy the folder {cache.name} of its cache to {cache},"
        " or set model.weights to where you keep that file"
    ) from failure


def _out_of_reach(endpoint: str) -> Exception | None:
    """Why nothing can be fetched from there, found in one attempt: the hub's client tries for a minute.

    What only a proxy can reach is left to the client.
    """
    if os.environ.get("HF_HUB_OFFLINE") or urllib.request.getproxies():
        return None
    url = urlparse(endpoint)
    try:
        socket.create_connection((url.hostname, url.port or 443), timeout=REACH_S).close()
    except OSError as error:
        return ConnectionError(f"{url.hostname} cannot be reached ({error.strerror or error})")
    return None


def read_state_dict(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """{name: tensor} of a safetensors file or a state dict; on the meta device names and shapes only.

    A state dict may lie under one of CONTAINERS, and all its names behind one of WRAPPERS. Raises
    WeightsError for a file that holds anything else.
    """
    if device == "meta":
        try:
            state = path.stat()
        except OSError as error:
            raise WeightsError(f"the weights file {str(path)!r} cannot be read: {error.strerror}") from error
        return dict(_shapes(path, state.st_mtime_ns, state.st_size))
    return _read(path, device)


@lru_cache(maxsize=8)
def _shapes(path: Path, _modified_ns: int, _size: int) -> Mapping[str, Tensor]:
    """Names and shapes of a file in this state: every variant of a study asks for them."""
    return _read(path, "meta")


def _read(path: Path, device: str) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":  # the header of safetensors: eight bytes of length, then JSON
            tensors = _read_safetensors(path, device)
        else:
            tensors = _state_dict(path, torch.load(path, map_location=device, weights_only=True))
    except AblateError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"the weights file {str(path)!r} holds more than tensors, or is damaged, and is not opened: a"
            " pickle can run code"
            "\n    open it where you trust it, and save model.state_dict() with torch.save or safetensors"
        ) from error
    except Exception as error:  # whatever a damaged or foreign file makes a reader do
        line = str(error).strip().splitlines()
        raise WeightsError(
            f"the weights file {str(path)!r} cannot be read: {type(error).__name__}"
            f"{': ' + line[0] if line else ''}"
            "\n    allowed: a safetensors file, or a state dict saved by torch.save"
        ) from error
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors


def _read_safetensors(path: Path, device: str) -> dict[str, Tensor]:
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        tensors = {}
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            if device == "meta":
                part = file.get_slice(name)
                tensors[name] = torch.empty(part.get_shape(), device="meta")
            else:
                tensors[name] = file.get_tensor(name)
        # tensors that share their memory are written once; the metadata say which name stands for which
        for name, kept in (file.metadata() or {}).items():
            if kept in tensors:
                tensors.setdefault(name, tensors[kept])
    return tensors


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    inner = content.values() if isinstance(content, Mapping) else ()
    for candidate in (content, *((content.get(key) for key in CONTAINERS) if inner else ())):
        if isinstance(candidate, Mapping) and candidate and _holds_tensors(candidate):
            return {name: value for name, value in candidate.items() if isinstance(value, Tensor)}
    held = f"the keys {', '.join(map(repr, content))}" if inner else f"a {type(content).__name__}"
    raise WeightsError(
        f"the weights file {str(path)!r} holds no state dict, but {held}"
        "\n    save model.state_dict() with torch.save or safetensors"
    )


def _holds_tensors(candidate: Mapping[Any, Any]) -> bool:
    """Names and tensors; what modules add of their own (``_extra_state``) may be anything."""
    return all(
        isinstance(name, str) and (isinstance(value, Tensor) or name.endswith("_extra_state"))
        for name, value in candidate.items()
    )
