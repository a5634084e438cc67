"""The network of a finished trial, as look and verify need it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ablate.data import Images
from ablate.errors import AblateError
from ablate.models import Network
from ablate.spec.settings import Settings
from ablate.trial.data import TrialData
from ablate.trial.network import build_for
from ablate.trial.recipe import make_recipe


def load_trained(
    settings: Settings, seed: int, weights: Path, *, images: Images, device: str = "cpu"
) -> tuple[Network, Callable[[np.ndarray], torch.Tensor]]:
    """The network of a finished trial, in eval mode, and what turns rows of its test images into its input,
    float32 (B, C, H, W), normalised as in training.

    weights: as the trial left them. Raises AblateError for those of another network.
    """
    train = settings.train.model_copy(update={"precision": "fp32"})  # nothing is trained: any device will do
    settings = settings.model_copy(update={"train": train})
    data = TrialData.prepare(settings, seed, make_recipe(settings, device), device, images)
    network = build_for(settings, images.shape, len(images.classes), seed)
    try:
        safetensors.torch.load_model(network, str(weights))
    except (RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise AblateError(
            f"{weights} does not hold the weights of this network: {error}\n"
            "    train it again with `ablate run STUDY --force VARIANT`"
        ) from error
    return network.to(device).eval(), data.test_inputs
