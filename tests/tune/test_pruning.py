"""Real, short training that is stopped: at an epoch's end, with a checkpoint, from which a run goes on."""

from __future__ import annotations

import optuna
import pytest

from ablate.runner import run_study
from ablate.store import Store
from ablate.tune import tune_study
from ablate.tune.pruning import make_pruner


class Never(optuna.pruners.BasePruner):
    """Stops everything at its first question: after the first epoch of the first seed."""

    def prune(self, study, trial):
        return True


def test_a_trial_is_stopped_after_an_epoch_and_a_run_goes_on_from_there(make, root, monkeypatch):
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})
    monkeypatch.setattr("ablate.runner.costs.measure_together", lambda *_: None)
    monkeypatch.setattr("ablate.tune.pruning.make_pruner", lambda *_: Never())
    lines = "space: {model.attention.args.reduction: [4]}\nseeds: [7]\npruner: median"
    study = make(lines, "train.epochs=2", "data.fraction=0.2", "model.args={width: 0.125}")
    summary = tune_study(study, output=root, device="cpu", executor="inline")
    assert summary.exit_code == 0 and "1 stopped early" in summary.message
    [folder] = [path for path in (root / "trials").iterdir() if path.is_dir()]
    store = Store(root)
    assert store.read_trial(folder.name) is None, "no record: it is neither done nor failed"
    assert store.trial(folder.name).checkpoints
    assert "stopped after epoch 1, as asked" in store.trial(folder.name).log.read_text()
    run_study(study, output=root, seeds=[7], only=["se"], device="cpu", executor="inline")
    record = store.read_trial(folder.name)
    assert (record.status, record.resumed) == ("done", 1)
    assert len(store.read_epochs(folder.name)) == 2
    whole = root.with_name("whole")
    run_study(study, output=whole, seeds=[7], only=["se"], device="cpu", executor="inline")
    assert Store(whole).read_trial(folder.name).metrics == record.metrics


@pytest.mark.parametrize("epochs", [1, 2, 9])
@pytest.mark.parametrize("name", ["none", "median", "halving", "hyperband"])
def test_every_pruner_can_be_made_for_any_length(name, epochs):
    assert isinstance(make_pruner(name, epochs, 2), optuna.pruners.BasePruner)
