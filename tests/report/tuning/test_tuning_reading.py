"""The rows of a search are read from its own file, without Optuna."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ablate.errors import StoreError


@pytest.mark.parametrize(
    "said", ["{", "[]", json.dumps({"schema_version": 1}), json.dumps({"schema_version": 2})]
)
def test_a_file_that_cannot_be_read_says_so(read, said):
    with pytest.raises(StoreError, match=r"tuning\.json"):
        read(said)


def test_a_report_with_a_search_loads_neither_optuna_nor_torch():
    code = (
        "import sys, ablate.report.tuning, ablate.report.build; print({'optuna', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
