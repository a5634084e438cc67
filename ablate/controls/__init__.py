"""What a study is held against: the same budget spent otherwise, and variants that change nothing."""

from ablate.controls.budget import Controlled, budget_controls, describe_control
from ablate.controls.no_ops import NoOp, find_no_ops

__all__ = [
    "Controlled",
    "NoOp",
    "budget_controls",
    "describe_control",
    "find_no_ops",
]
