"""Run any function on any items, here or in workers that survive a crash. Knows nothing of trials."""

from ablate.execute.base import ExecutionFailure, Executor, FailureKind, Outcome, describe_error
from ablate.execute.inline import InlineExecutor
from ablate.execute.local import LocalExecutor

__all__ = [
    "ExecutionFailure",
    "Executor",
    "FailureKind",
    "InlineExecutor",
    "LocalExecutor",
    "Outcome",
    "describe_error",
]
