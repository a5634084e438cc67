"""Class-activation maps by captum's LayerGradCam (BSD-3, an extra: ``look``)."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ablate.errors import MachineError
from ablate.look.capture import evaluating

WAY_OUT = "class-activation maps need captum: pip install 'ablate-bench[look]'"


def has_captum() -> bool:
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        return False
    return True


def grad_cam(network: nn.Module, layer: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM of one class an image: (B, C, H, W) and int64 (B,) -> (B, h, w), the size of the layer's map.

    relu(Σ_c mean over positions of ∂logit/∂A_c · A_c): Selvaraju et al. 2017, arXiv:1610.02391, equations 1
    and 2. Of a layer with attention, A is what attention gives the rest of the network. Parameters get no
    gradient. Raises MachineError without captum.
    """
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise MachineError(WAY_OUT) from error
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    try:
        with evaluating(network), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum's, of the gradients that it asks for itself
            for parameter in wanted:
                parameter.requires_grad_(False)
            given = x.detach().clone().requires_grad_(True)
            maps = LayerGradCam(network, layer).attribute(given, target=targets, relu_attributions=True)
    finally:
        for parameter, asked in wanted.items():
            parameter.requires_grad_(asked)
    return maps[:, 0].detach().float().cpu()
