"""A small trial on digits, and what it is run with."""

import sys

import pytest
import torch

from ablate.data import load_images
from ablate.environment import describe
from ablate.spec.settings import Settings
from ablate.store import Store
from ablate.trial import make_recipe, run_trial
from ablate.variants import identity_hash, trial_identity, variant_id

USERS_OWN = '''
import numpy as np
import torch
from torch import nn


class Pass(nn.Module):
    """Attention that draws random numbers to be built, has parameters, and changes nothing."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x):
        return x + 0 * self.fc.weight.sum()


def _images(poison):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 15.9375).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    test_labels = labels[1000:1400].copy()
    if poison:
        test_labels = (test_labels + 1) % 10
    return images[:1000], labels[:1000], images[1000:1400], test_labels


def clean(root):
    return _images(poison=False)


def poisoned(root):
    return _images(poison=True)


def by_class(root):
    images, labels, test, test_labels = _images(poison=False)
    order = np.argsort(test_labels, kind="stable")
    return images, labels, test[order], test_labels[order]
'''


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    return describe("cpu", threads=1, cwd=tmp_path_factory.mktemp("no-repository"))


@pytest.fixture
def users_own(tmp_path, monkeypatch):
    (tmp_path / "users_own_module.py").write_text(USERS_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("users_own_module", None)


@pytest.fixture
def settings():
    """settings(train, data, **model): a quarter of the S1 network on 8×8 digits, two epochs."""

    def make(train=None, data=None, **model):
        chosen = {
            "data": {"source": "digits", "augment": {"crop": 1}, **(data or {})},
            "model": {"backbone": "cnn", "args": {"width": 0.25}, **model},
            "train": {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 3e-3}, **(train or {})},
        }
        return Settings.model_validate(chosen)

    return make


@pytest.fixture
def run(tmp_path, cache, environment):
    """run(settings, seed) -> (record, paths of its files)."""
    store = Store(tmp_path / "results")

    def one(chosen, seed=0, *, identity=None, root="results", on_progress=None):
        where = Store(tmp_path / root)
        if identity is None:
            images = load_images(chosen.data.source, cache=cache)
            precision = make_recipe(chosen, "cpu").precision
            identity = trial_identity(chosen, seed, data_fingerprint=images.fingerprint, precision=precision)
        trial_id = identity_hash(identity)
        record = run_trial(
            chosen,
            seed,
            folder=where.trial(trial_id).folder,
            trial_id=trial_id,
            variant_id=variant_id(chosen),
            identity=identity,
            environment=environment,
            cache=cache,
            on_progress=on_progress,
        )
        return record, where.trial(trial_id)

    one.store = store
    return one


@pytest.fixture
def stages():
    """A recipe of two stages that says everything a stage can say."""
    return {
        "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 1e-3, "args": {"momentum": 0.9}},
        "schedule": {"name": "step", "step_size": 1, "gamma": 0.5},
        "stages": [
            {"epochs": 1, "train": ["head", "attention"]},
            {
                "epochs": 2,
                "lr": {"block*": 1e-3, "attention": 1e-2},
                "optimizer": {"name": "adamw", "decay_on": "weights"},
                "schedule": {"name": "cosine"},
            },
        ],
    }
