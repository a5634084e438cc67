"""Items as jobs of a Slurm cluster, sent through submitit as arrays.

A job is a supervisor and one worker (`on_slurm.task`); what Slurm itself says of a job counts only where its
supervisor could say nothing any more. Jobs do not hang on this process: if it dies they go on, and the next
run under the same folder takes over those that are still in the queue (`on_slurm.folder`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.execute.base import Item, Loss, Outcome, Result
from ablate.execute.on_slurm.options import SlurmOptions
from ablate.execute.on_slurm.queue import QUEUES, Queue
from ablate.execute.on_slurm.round import Jobs, SlurmRound


class SlurmExecutor:
    """Items run wherever the cluster has room.

    folder: for what goes to and from the jobs, on a file system that the nodes share. workers: how many jobs
    run at once. options: of the jobs. environment: variables set in every worker before Python starts in it.
    initializer: called once in each worker. let_go: see `on_slurm.task.Work`; both are pickled. cluster:
    "slurm", or "local" for processes of this machine that submitit puts in a cluster's place. name: of the
    jobs. queue_look_s: between two questions to Slurm.
    """

    def __init__(
        self,
        folder: str | Path,
        workers: int = 1,
        options: SlurmOptions | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        initializer: Callable[[], None] | None = None,
        let_go: Callable[[Any], str] | None = None,
        cluster: str = "slurm",
        name: str = "ablate",
        queue_look_s: float = 5.0,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        self.workers = workers
        self.options = options or SlurmOptions()
        queue: Queue = QUEUES[cluster](self.options, name)
        self._jobs = Jobs(
            Path(folder).absolute(),
            workers,
            self.options,
            queue,
            dict(environment or {}),
            initializer,
            let_go,
            queue_look_s,
        )
        self._cancelled = threading.Event()
        self._rounds: list[SlurmRound[Any, Any]] = []

    def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        on_loss: Callable[[Loss[Item]], Result | None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> Iterator[Outcome[Item, Result]]:
        """See `Executor.run`. Raises MachineError when the cluster takes no job, or none can start.

        timeout_s: seconds in one job; a trial that was requeued has them anew.
        """
        if self._cancelled.is_set():
            raise RuntimeError("this executor was closed")
        a_round = SlurmRound(
            self._jobs, self._cancelled, function, items, timeout_s, retries, on_loss, on_note
        )
        return self._holding(a_round)

    def _holding(self, a_round: SlurmRound[Item, Result]) -> Iterator[Outcome[Item, Result]]:
        self._rounds.append(a_round)
        try:
            yield from a_round.outcomes()
        finally:
            self._rounds.remove(a_round)

    def cancel(self) -> None:
        self._cancelled.set()
        for a_round in tuple(self._rounds):
            a_round.withdraw()

    def close(self) -> None:
        """Not beside a `run` in another thread: `cancel` ends that first."""
        self.cancel()

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
