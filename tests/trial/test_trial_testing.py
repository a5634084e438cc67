"""The one reading of the test images, and the weights that are kept."""

import numpy as np
import pytest
import safetensors.torch

from ablate.data import load_images
from ablate.train import evaluate
from ablate.trial import TrialData, build_for, make_recipe

SE = {"attention": {"name": "se", "args": {"reduction": 4}, "at": ["block*.relu"]}}


@pytest.mark.parametrize("keep", ["last", "best"])
def test_kept_weights_give_the_predictions_again(run, cache, keep, settings):
    # A rate that rises until it destroys what the first epochs learnt: the last epoch is not the best.
    rising = {"optimizer": {"lr": 0.3}, "schedule": {"name": "cosine", "warmup": 3.9}}
    chosen = settings(train={"keep": keep, "epochs": 4, **rising})
    record, paths = run(chosen)
    assert record.metrics.best_epoch < 4
    data = TrialData.prepare(chosen, 0, make_recipe(chosen, "cpu"), "cpu", load_images("digits", cache=cache))
    network = build_for(chosen, (1, 8, 8), 10, seed=5)
    safetensors.torch.load_model(network, str(paths.weights))
    predicted = evaluate(network, data.test_batches(), device="cpu").predicted
    kept = run.store.read_predictions(record.id)
    assert not np.array_equal(kept["predicted"], kept["predicted_best"])
    np.testing.assert_array_equal(predicted, kept["predicted" if keep == "last" else "predicted_best"])


def test_weights_of_an_earlier_run_do_not_outlive_one_that_keeps_none(run, settings):
    _, paths = run(settings(train={"keep": "last"}))
    assert paths.weights.is_file()
    _, same = run(settings())
    assert same == paths and not paths.weights.exists()


def test_a_shuffled_gate_meets_other_classes_where_test_images_lie_class_by_class(
    run, users_own, monkeypatch, settings
):
    """It takes the gate of the image before; the predictions still stand in the order of the source."""
    read = []

    def evaluate_and_tell(network, batches, **how):
        read.append(next(iter(batches.epoch(0)))[1].numpy())
        return evaluate(network, batches, **how)

    monkeypatch.setattr("ablate.trial.testing.evaluate", evaluate_and_tell)
    data = {"source": "users_own_module:by_class"}
    se = SE["attention"]
    neighbours = {}
    for gate in ("own", "shuffled"):
        _, paths = run(settings(data=data, attention={**se, "gate": gate}))
        neighbours[gate] = np.mean(read[-1][1:] == read[-1][:-1])
        with np.load(paths.predictions) as saved:
            assert list(saved["label"]) == sorted(saved["label"])
            accuracy = np.mean(saved["predicted"] == saved["label"])
        assert accuracy > 0.3  # a label beside another image's prediction would be right one time in ten
    assert neighbours["own"] > 0.9
    assert neighbours["shuffled"] < 0.4
