"""Number formats and the switches of the process."""

import contextlib
import os

import pytest
import torch

from ablate.errors import AblateError, MachineError
from ablate.train import numerics, resolve_precision


def test_auto_is_single_precision_off_cuda():
    assert resolve_precision("auto", "cpu") == "fp32"
    assert resolve_precision("auto", "mps") == "fp32"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda_asks_the_chip_and_takes_no_emulation(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    assert resolve_precision("auto", "cuda:0") == expected


def test_what_is_named_is_taken_or_refused():
    assert [resolve_precision(name, "cpu") for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    with pytest.raises(AblateError, match="unknown 'fp8'; allowed: auto, fp32, bf16, fp16"):
        resolve_precision("fp8", "cpu")
    with pytest.raises(MachineError, match="mps lacks; take fp32 or bf16"):
        resolve_precision("fp16", "mps")


def flags():
    cudnn = torch.backends.cudnn
    return (
        cudnn.benchmark,
        cudnn.deterministic,
        cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_switches_are_set_inside_and_restored_after_an_error(monkeypatch, deterministic):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    with pytest.raises(KeyError), numerics(deterministic=deterministic):
        inside = flags()
        raise KeyError
    workspace = ":4096:8" if deterministic else None
    assert inside == (False, deterministic, False, False, deterministic, workspace)
    assert flags() == before


def test_an_operator_without_a_deterministic_implementation_is_refused_with_the_way_out():
    with (
        pytest.raises(
            MachineError, match=r"train.deterministic: put_ does not.*\n.*train.deterministic: false"
        ),
        numerics(deterministic=True),
    ):
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    with numerics(deterministic=False):
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
