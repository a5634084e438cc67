"""`evaluate` against formulas written out in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.train import evaluate


def test_figures_over_uneven_batches_equal_the_formulas(batches_of):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(11, 4)).astype(np.float32)
    labels = generator.integers(0, 4, 11)
    # Four batches of 3, 3, 3 and 2: a mean of batch means would differ.
    given = batches_of(torch.from_numpy(logits), torch.from_numpy(labels), 3)
    seen = evaluate(nn.Identity(), given, device="cpu")
    powers = np.exp(logits.astype(np.float64))
    softmax = powers / powers.sum(1, keepdims=True)
    assert seen.loss == pytest.approx(-np.log(softmax[np.arange(11), labels]).mean(), rel=1e-6)
    assert seen.accuracy == 100 * (logits.argmax(1) == labels).sum() / 11
    np.testing.assert_array_equal(seen.labels, labels)
    np.testing.assert_array_equal(seen.predicted, logits.argmax(1))
    np.testing.assert_allclose(seen.probability, softmax.max(1), rtol=1e-6)
    assert (seen.labels.dtype, seen.predicted.dtype, seen.probability.dtype) == (
        np.int64,
        np.int64,
        np.float32,
    )


def test_dropout_is_off_and_batch_norm_keeps_its_statistics(batches_of, clusters):
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.9), nn.Flatten(), nn.Linear(32, 3)).train()
    given = batches_of(*clusters(10), 4)
    before = network[0].running_mean.clone()
    first, second = evaluate(network, given, device="cpu"), evaluate(network, given, device="cpu")
    np.testing.assert_array_equal(first.probability, second.probability)
    assert torch.equal(network[0].running_mean, before)


def test_no_images_are_an_error(batches_of):
    with pytest.raises(AblateError, match="no images to evaluate on"):
        evaluate(
            nn.Identity(), batches_of(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 4), device="cpu"
        )
