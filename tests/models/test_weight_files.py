import pickle
from collections import OrderedDict
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torch import nn

from ablate.errors import MachineError
from ablate.models import WeightsError, locate_weights
from ablate.models.weight_files import read_state_dict

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": STATE, "args": None},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
        STATE | {"quantizer._extra_state": {"scale": 1}},
    ],
    ids=["dict", "ordered", "checkpoint", "model", "data-parallel", "parameters", "extra-state"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_by_torch(tmp_path, content, zipped):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(tmp_path / "w.pth"), STATE)
    shapes = read_state_dict(tmp_path / "w.pth", "meta")
    assert {name: t.shape for name, t in shapes.items()} == {name: t.shape for name, t in STATE.items()}
    assert all(tensor.is_meta for tensor in shapes.values())


def test_safetensors_whatever_the_file_is_called(tmp_path):
    for name in ("w.safetensors", "w.bin"):
        safetensors.torch.save_file(STATE, tmp_path / name)
        assert same(read_state_dict(tmp_path / name), STATE)
        assert all(tensor.is_meta for tensor in read_state_dict(tmp_path / name, "meta").values())


def test_a_tensor_under_two_names_is_found_under_both(tmp_path):
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    safetensors.torch.save_model(tied, str(tmp_path / "w.safetensors"))
    assert same(read_state_dict(tmp_path / "w.safetensors"), tied.state_dict())


def test_a_file_that_changes_is_read_again(tmp_path):
    torch.save(STATE, tmp_path / "w.pth")
    assert len(read_state_dict(tmp_path / "w.pth", "meta")) == 2
    torch.save(STATE | {"more": torch.ones(1000)}, tmp_path / "w.pth")
    assert len(read_state_dict(tmp_path / "w.pth", "meta")) == 3


def message(path, device="cpu"):
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path, device)
    return str(caught.value)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (Path(self.file),)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_pickle_runs_code(tmp_path, device):
    sprung = tmp_path / "sprung"
    torch.save({"fc.weight": torch.ones(1), "trap": Trap(sprung)}, tmp_path / "torch.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    for name in ("torch.pth", "plain.pkl", "module.pth"):
        assert message(tmp_path / name, device) == (
            f"the weights file '{tmp_path / name}' holds more than tensors, or is damaged, and is not opened:"
            " a pickle can run code"
            "\n    open it where you trust it, and save model.state_dict() with torch.save or safetensors"
        )
    assert not sprung.exists()


def test_other_files_are_refused_with_the_way_out(tmp_path):
    torch.save({"epoch": 3, "weights": STATE}, tmp_path / "nested.pth")
    assert message(tmp_path / "nested.pth") == (
        f"the weights file '{tmp_path / 'nested.pth'}' holds no state dict, but the keys 'epoch', 'weights'"
        "\n    save model.state_dict() with torch.save or safetensors"
    )
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    assert "holds no state dict, but a Tensor" in message(tmp_path / "tensor.pth")
    torch.save({}, tmp_path / "empty.pth")
    assert "holds no state dict" in message(tmp_path / "empty.pth")
    assert "cannot be read" in message(tmp_path)
    assert "cannot be read: No such file" in message(tmp_path / "none.pth", "meta")
    safetensors.torch.save_file(STATE, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:60])
    assert "cannot be read: " in message(tmp_path / "cut.safetensors")
    (tmp_path / "note.pth").write_text("these are not the weights you are looking for")
    assert "note.pth' " in message(tmp_path / "note.pth")


# Where they are


def test_a_path(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "w.pth")
    monkeypatch.chdir(tmp_path)
    assert locate_weights("cnn", "w.pth").samefile(tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        locate_weights("cnn", "v.pth")
    assert str(caught.value) == (
        f"model.weights: 'v.pth': there is no such file (looked for {tmp_path / 'v.pth'})"
        "\n    allowed: null, default, or the path of a safetensors file or a state dict"
    )
    with pytest.raises(WeightsError, match="is a folder"):
        locate_weights("cnn", str(tmp_path))


def test_backbones_without_default_weights():
    for name in ("cnn", "my.nets:Net"):
        with pytest.raises(WeightsError, match=f"there are no default weights for '{name}'"):
            locate_weights(name, "default")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch's cache in a folder of its own, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(url, *_args, **_keywords):
        raise URLError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("backbone", "args", "file"),
    [
        ("vgg16", {}, "vgg16-397923af.pth"),
        ("vgg16", {"batch_norm": True}, "vgg16_bn-6c64b313.pth"),
        ("resnet18", {}, "resnet18-f37072fd.pth"),
        ("torchvision:vgg16", {}, "vgg16-397923af.pth"),
        ("torchvision:densenet121", {}, "densenet121-a639ec97.pth"),
    ],
)
def test_torchvisions_own(hub, backbone, args, file):
    with pytest.raises(MachineError) as caught:
        locate_weights(backbone, "default", args)
    assert str(caught.value) == (
        f"the default weights of {backbone!r} are not here and cannot be fetched:"
        " <urlopen error no network here>"
        f"\n    put https://download.pytorch.org/models/{file}"
        f"\n    at {hub / file}, or set model.weights to where you keep that file"
    )
    (hub / file).touch()  # as the message says
    assert locate_weights(backbone, "default", args) == hub / file


def test_torchvisions_own_are_fetched_and_checked(hub, monkeypatch):
    asked = []

    def fetch(url, target, hash_prefix, progress):
        asked.append((url, hash_prefix))
        Path(target).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        assert locate_weights("resnet18", "default").read_bytes() == b"weights"
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached = hub.try_to_load_from_cache
    monkeypatch.setattr(
        hub, "try_to_load_from_cache", lambda *names, **more: cached(*names, cache_dir=tmp_path, **more)
    )

    def refuse(*_names, **_more):
        raise ConnectionError("no network here\nreally")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    monkeypatch.setattr("ablate.models.weight_files._out_of_reach", lambda endpoint: None)
    return tmp_path


def test_a_hub_that_is_out_of_reach_is_tried_once(hugging_face, monkeypatch):
    """Its client would go on for a minute."""
    monkeypatch.undo()
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(hugging_face))
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://127.0.0.1:9")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "hf_hub_download", None)
    with pytest.raises(MachineError, match=r"127\.0\.0\.1 cannot be reached \(Connection refused\)"):
        locate_weights("timm:resnet18.a2_in1k", "default")


def test_timms_own(hugging_face):
    with pytest.raises(MachineError) as caught:
        locate_weights("timm:resnet18.a2_in1k", "default")
    folder = hugging_face / "models--timm--resnet18.a2_in1k"
    assert str(caught.value) == (
        "the default weights of 'timm:resnet18.a2_in1k' are not here and cannot be fetched: no network here"
        "\n    where there is a network: hf download timm/resnet18.a2_in1k model.safetensors"
        f"\n    then copy the folder models--timm--resnet18.a2_in1k of its cache to {folder},"
        " or set model.weights to where you keep that file"
    )
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd")
    file = folder / "snapshots" / "0123abcd" / "model.safetensors"
    file.parent.mkdir(parents=True)
    safetensors.torch.save_file(STATE, file)
    assert locate_weights("timm:resnet18.a2_in1k", "default") == file
