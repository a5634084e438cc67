"""The campaign as a test, for `make test-faults`; FAULTS says how many, 20 for the short form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).resolve().parent


@pytest.mark.faults
@pytest.mark.timeout(3 * 3600)
@pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and mounts as Linux has them")
def test_every_disturbed_tree_ends_as_the_undisturbed_one():
    command = [sys.executable, str(CAMPAIGN), "--faults", os.environ.get("FAULTS", "200")]
    done = subprocess.run([*command, "--seed", os.environ.get("SEED", "1")])
    assert done.returncode == 0, "the lines that begin with WRONG say what was lost, left or different"
