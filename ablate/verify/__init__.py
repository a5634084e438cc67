"""Train a finished trial again, apart from its tree, and compare what comes with what was kept."""

from ablate.verify.again import Outcome, Verification, render_verification, verify_trial
from ablate.verify.meter import Meter

__all__ = ["Meter", "Outcome", "Verification", "render_verification", "verify_trial"]
