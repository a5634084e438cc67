"""The one reading of the test images, after training has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ablate.models import Network
from ablate.store import TrialPaths
from ablate.train import Evaluation, FitResult, evaluate
from ablate.trial.data import TrialData
from ablate.trial.files import sync, write_weights

if TYPE_CHECKING:
    from ablate.train.distributed import Ranks


def read_test_images(
    network: Network,
    result: FitResult,
    data: TrialData,
    paths: TrialPaths,
    keep: str,
    ranks: Ranks | None = None,
) -> tuple[Evaluation, Evaluation]:
    """The one reading of the test images: at the last epoch, and at the epoch best in validation.

    Leaves predictions and the weights to keep; `network` ends with those of the best epoch. ranks: processes
    that call this together, of which the first writes.
    """
    writes = ranks is None or ranks.is_first
    batches, recipe = data.test_batches(), data.recipe
    back = np.argsort(data.reading_order(batches.count))

    def read() -> Evaluation:
        found = evaluate(
            network,
            batches,
            device=data.device,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
            ranks=ranks,
        )
        in_order = {name: getattr(found, name)[back] for name in ("labels", "predicted", "probability")}
        return replace(found, **in_order)

    if writes:
        paths.weights.unlink(missing_ok=True)
    last = best = read()
    if writes and keep == "last":
        write_weights(network, paths.weights)
    if result.state.best_epoch != result.state.epoch:
        network.load_state_dict(result.state.best_weights)
        best = read()
    if not writes:
        return last, best
    if keep == "best":
        write_weights(network, paths.weights)
    np.savez_compressed(
        paths.predictions,
        label=last.labels,
        predicted=last.predicted,
        predicted_best=best.predicted,
        probability=last.probability,
        index=data.images.test_rows,
    )
    sync(paths.predictions)
    return last, best
