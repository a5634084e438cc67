"""What a device makes of settings, without loading torch for what is plain."""

from __future__ import annotations

import pytest

from ablate.errors import AblateError
from ablate.runner import Surroundings
from ablate.store import Store
from ablate.train import resolve_precision


@pytest.mark.parametrize("asked", ["auto", "fp32", "bf16", "fp16"])
def test_a_precision_on_the_cpu_is_what_training_resolves(tmp_path, asked):
    assert Surroundings(Store(tmp_path), "cpu").precision(asked) == resolve_precision(asked, "cpu")


def test_an_unknown_precision_is_refused_in_training_s_own_words(tmp_path):
    with pytest.raises(AblateError, match="unknown 'fp8'; allowed: auto, fp32, bf16, fp16"):
        Surroundings(Store(tmp_path), "cpu").precision("fp8")
