"""How numbers are computed: the number format, and the switches of the process that move the last bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ablate.errors import AblateError, MachineError

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def resolve_precision(precision: str, device: str | torch.device) -> Precision:
    """What "auto" means on a device: fp32 on the CPU and mps; on CUDA bf16 where the chip has it, else fp16.

    The answer belongs to the identity of a trial. Raises MachineError for what the device cannot do.
    """
    device = torch.device(device)
    if precision == "auto":
        if device.type != "cuda":
            return "fp32"
        with torch.cuda.device(device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision not in ("fp32", "bf16", "fp16"):
        raise AblateError(f"train.precision: unknown {precision!r}; allowed: auto, fp32, bf16, fp16")
    if precision == "fp16" and device.type == "mps":
        raise MachineError("train.precision: fp16 needs gradient scaling, which mps lacks; take fp32 or bf16")
    return precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context in which matrix products and convolutions run in the given format; off for fp32."""
    return torch.autocast(device.type, dtype=_DTYPES.get(precision), enabled=precision in _DTYPES)


@contextmanager
def numerics(*, deterministic: bool) -> Iterator[None]:
    """Pin what torch would otherwise choose by itself, and put it back afterwards.

    fp32 means IEEE single precision: TF32 is off. cuDNN does not pick algorithms by timing them, since a pick
    that depends on the load of the machine is no fixed computation. With `deterministic`, an operator without
    a deterministic implementation raises MachineError.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    saved = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    saved_mode, saved_cublas = torch.get_deterministic_debug_mode(), os.environ.get(_CUBLAS)
    try:
        cudnn.benchmark, cudnn.deterministic = False, deterministic
        cudnn.allow_tf32, matmul.allow_tf32 = False, False
        torch.use_deterministic_algorithms(deterministic)
        if deterministic and torch.cuda.is_available():
            os.environ.setdefault(_CUBLAS, ":4096:8")
        yield
    except RuntimeError as error:
        if deterministic and "deterministic" in str(error):
            raise MachineError(
                f"train.deterministic: {str(error).splitlines()[0]}\n"
                "    set train.deterministic: false, or leave out the module that uses this operator"
            ) from error
        raise
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = saved
        torch.set_deterministic_debug_mode(saved_mode)
        if saved_cublas is None:
            os.environ.pop(_CUBLAS, None)
