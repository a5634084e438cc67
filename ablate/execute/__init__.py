"""Run any function on any items, here or in workers that survive a crash. Knows nothing of trials."""

from ablate.execute.base import ExecutionFailure, Executor, FailureKind, Loss, Outcome
from ablate.execute.describe import describe_error, describe_exit, memory_kills, where_in_dump, where_in_stack
from ablate.execute.inline import InlineExecutor
from ablate.execute.local import LocalExecutor
from ablate.execute.worker import die_with_parent, replace_worker

__all__ = [
    "ExecutionFailure",
    "Executor",
    "FailureKind",
    "InlineExecutor",
    "LocalExecutor",
    "Loss",
    "Outcome",
    "describe_error",
    "describe_exit",
    "die_with_parent",
    "memory_kills",
    "replace_worker",
    "where_in_dump",
    "where_in_stack",
]
