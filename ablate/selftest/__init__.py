"""The statistics are tried on synthetic studies whose truth is known, through the code that judges real ones.

`ablate selftest` prints how often the verdicts err and the intervals cover, beside the limits that
docs/statistics.md states, and fails when one is broken. Torch is never loaded.
"""

from ablate.selftest.cells import CONTROLS, FULL_REPLICATES
from ablate.selftest.run import QUICK_REPLICATES, Selftest, run_selftest
from ablate.selftest.show import selftest_json, selftest_text
from ablate.selftest.tally import Line

__all__ = [
    "CONTROLS",
    "FULL_REPLICATES",
    "QUICK_REPLICATES",
    "Line",
    "Selftest",
    "run_selftest",
    "selftest_json",
    "selftest_text",
]
