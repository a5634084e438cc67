import numpy as np
import pytest
import torch

from ablate.models import ModelError
from ablate.models.attention import build_attention, nondeterministic_operators
from ablate.models.attention.deformable import DeformableConv2d


def sample(image, y, x):
    """Bilinear, 0 outside."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def reference(x, weight, bias, offsets, k):
    """y(p) = Σ_n w_n · x(p + n + Δ_n(p)) + b, position by position."""
    images, channels, height, width = x.shape
    y = np.zeros((images, weight.shape[0], height, width))
    for b, i, j, tap in np.ndindex(images, height, width, k * k):
        row = i + tap // k - k // 2 + offsets[b, 2 * tap, i, j]
        column = j + tap % k - k // 2 + offsets[b, 2 * tap + 1, i, j]
        values = [sample(x[b, c], row, column) for c in range(channels)]
        y[b, :, i, j] += weight[:, :, tap // k, tap % k] @ values
    return y + bias[None, :, None, None]


@pytest.mark.parametrize("k", [3, 5])
def test_against_the_formula(k):
    module = DeformableConv2d(2, 3, k).double()
    with torch.no_grad():
        for parameter in module.offset.parameters():
            parameter.normal_(0, 0.5)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    arrays = (t.detach().numpy() for t in (x, module.weight, module.bias, module.offset(x)))
    np.testing.assert_allclose(module(x).detach().numpy(), reference(*arrays, k), rtol=1e-10)


def test_it_names_what_cannot_be_deterministic_on_cuda():
    assert nondeterministic_operators(build_attention("msa", 8, {"deformable": True})) == (
        "torchvision::deform_conv2d",
    )
    assert nondeterministic_operators(build_attention("msa", 8, {})) == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_deterministic_mode_is_refused_on_cuda():
    module, x = build_attention("msa", 8, {"deformable": True}).cuda(), torch.randn(2, 8, 5, 5).cuda()
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(
            ModelError, match=r"torchvision::deform_conv2d has no deterministic backward on CUDA"
        ):
            module(x)
        with torch.no_grad():
            assert module(x).isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_without_a_fitting_torchvision_only_the_deformable_branches_are_refused(
    no_torchvision, fake_torchvision, tmp_path
):
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    no_torchvision.syspath_prepend(tmp_path)
    assert build_attention("msa", 8, {})(torch.ones(1, 8, 3, 3)).shape == (1, 8, 3, 3)
    with pytest.raises(ModelError) as caught:
        build_attention("msa", 8, {"deformable": True})
    assert str(caught.value) == (
        f"deformable branches need a torchvision that fits torch {torch.__version__}; importing it failed"
        " with RuntimeError: operator torchvision::nms does not exist"
        "\n    install the torchvision of that torch, or set deformable: false"
    )
