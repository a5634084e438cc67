"""Jobs in a queue: send them, ask how they stand, take them back. Slurm's, and submitit's stand-in for it.

States come from squeue, which remembers a job for five minutes after its end (MinJobAge), and where it has
forgotten one from sacct, if the cluster keeps accounts. squeue is asked once for all jobs of a run.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ablate
from ablate.errors import MachineError
from ablate.execute.on_slurm.options import SlurmOptions
from ablate.execute.on_slurm.task import Task

# Exit codes of a job's shell, before Python starts in it.
NOT_SHARED, NO_PYTHON, NO_FOLDER = 86, 87, 88
# What slurmd says when it could not open the files of a job's output.
_NO_OUTPUT_SIGNAL = 53
_RUNS_ON = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"}
    | {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STAGE_OUT", "RESV_DEL_HOLD"}
)
_ASK_S = 60.0  # for Slurm's controller to answer
# Of squeue, by columns: a field may be empty, or hold spaces.
_WIDTHS = {"ArrayJobID": 24, "ArrayTaskID": 24, "JobID": 24, "State": 24, "exit_code": 12, "NodeList": 64}
_WIDTHS |= {"Reason": 64}
_FIELDS = ",".join(f"{name}:{width}" for name, width in _WIDTHS.items())
# The controller takes no more than so many tasks in an array unless it says otherwise.
_MAX_ARRAY = 1001
_OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")


class Refused(MachineError):
    """The queue takes no such job, or no further one."""


@dataclass(frozen=True, slots=True)
class State:
    """How a job stands. name: as Slurm has it ("RUNNING"). reason: why it waits. exit_code, signal: of its
    shell, once it is over."""

    name: str
    exit_code: int = 0
    signal: int = 0
    node: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        return self.name not in _RUNS_ON

    @property
    def saw_no_folder(self) -> bool:
        """The node does not see the run's folder, or another one under its name."""
        return self.exit_code == NOT_SHARED or self.signal == _NO_OUTPUT_SIGNAL

    def __str__(self) -> str:
        end = f", signal {self.signal}" if self.signal else f", exit code {self.exit_code}"
        return f"{self.name}{end if self.over and (self.signal or self.exit_code) else ''}"


# Nobody remembers it.
GONE = State("UNKNOWN")


class Queue(Protocol):
    """arrays: whether many tasks are sent as one, of which so many run at a time."""

    arrays: bool

    @property
    def largest(self) -> int:
        """How many tasks can be sent at a time."""
        ...

    def send(self, tasks: Sequence[Task], folder: Path, at_once: int) -> list[str]:
        """Job ids, one a task. Raises Refused."""
        ...

    def states(self, job_ids: Collection[str]) -> dict[str, State] | None:
        """Of each job, `GONE` for one that nobody remembers. None where nobody answers just now."""
        ...

    def sent_from(self, folder: Path, job_ids: Collection[str]) -> set[str] | None:
        """Those of this user that are not over and were sent from this folder, as the queue itself knows.

        What a folder says of itself is no proof: it may have come with a tree from elsewhere. None where
        nobody answers just now.
        """
        ...

    def cancel(self, job_ids: Collection[str]) -> None: ...


def result_path(folder: Path, job_id: str) -> Path:
    """Where submitit leaves what a job gave back."""
    return folder / f"{job_id}_0_result.pkl"


def error_path(folder: Path, job_id: str) -> Path:
    return folder / f"{job_id}_0_log.err"


@dataclass
class SlurmQueue:
    """Jobs by sbatch. name: of the jobs, as squeue shows it."""

    options: SlurmOptions = field(default_factory=SlurmOptions)
    name: str = "ablate"
    arrays: bool = True
    _max_array: int | None = None

    def __post_init__(self) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise MachineError(
                "--executor slurm needs sbatch, srun, squeue and scancel of Slurm, which are not here\n"
                "    start the run on a login node of the cluster, or use --executor local"
            )

    def send(self, tasks: Sequence[Task], folder: Path, at_once: int) -> list[str]:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = SlurmExecutor(folder)
        executor.update_parameters(**self._parameters(folder, at_once))
        try:
            # submitit repeats on standard error what sbatch says, which is in the exception, too.
            with _outside_of_any_job(), Path(os.devnull).open("w") as none, contextlib.redirect_stderr(none):
                jobs = executor.submit_array(list(tasks))
        except (FailedJobError, FailedSubmissionError) as error:
            raise Refused(f"sbatch takes no such job: {_last_line(str(error))}") from error
        return [job.job_id for job in jobs]

    def _parameters(self, folder: Path, at_once: int) -> dict[str, Any]:
        """As submitit wants them; what it does not know by name goes through as it is."""
        options = self.options
        # srun would load the site's MPI, which a trial does not need and a node may lack.
        step = ["--mpi=none", *([f"--cpus-per-task={options.cpus}"] if options.cpus else [])]
        return {
            "job_name": self.name,
            "time": None,
            "wckey": None,
            "array_parallelism": at_once,
            "signal_delay_s": options.signal_before_s,
            "srun_args": step,
            "setup": [*_checks(folder), *options.setup],
            "additional_parameters": {**options.flags, "requeue": True},
        }

    @property
    def largest(self) -> int:
        if self._max_array is None:
            said = _answer(["scontrol", "show", "config"]) or ""
            lines = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
            found = {key.strip(): value.strip() for key, value in lines.items()}.get("MaxArraySize", "")
            self._max_array = max(1, (int(found) if found.isdigit() else _MAX_ARRAY) - 1)
        return self._max_array

    def states(self, job_ids: Collection[str]) -> dict[str, State] | None:
        wanted = _whole(job_ids)
        said = _answer(
            ["squeue", "--array", "--noheader", "--states=all", f"--jobs={wanted}", f"-O{_FIELDS}"]
        )
        if said is None:
            return None
        found = {job_id: state for line in said.splitlines() for job_id, state in _read_squeue(line)}
        missing = [job_id for job_id in job_ids if job_id not in found]
        if missing and shutil.which("sacct"):
            said = _answer(
                ["sacct", "-XnP", "--array", f"--jobs={_whole(missing)}", "-oJobID,State,ExitCode,NodeList"]
            )
            found |= {
                job_id: state for line in (said or "").splitlines() for job_id, state in _read_sacct(line)
            }
        return {job_id: found.get(job_id, GONE) for job_id in job_ids}

    def sent_from(self, folder: Path, job_ids: Collection[str]) -> set[str] | None:
        said = _answer(["squeue", "--me", "--noheader", "--array", "-OArrayJobID:24,STDOUT:4096"])
        states = self.states(job_ids)
        if said is None or states is None:
            return None
        pairs = (line.strip().partition(" ") for line in said.splitlines())
        ours = {array for array, _, path in pairs if path.strip().startswith(f"{folder}{os.sep}")}
        return {job_id for job_id, state in states.items() if not state.over and _whole([job_id]) in ours}

    def cancel(self, job_ids: Collection[str]) -> None:
        for some in _batches(sorted(job_ids), 500):
            _answer(["scancel", "--quiet", *some])


def _whole(job_ids: Collection[str]) -> str:
    """Of arrays as wholes: an argument list has an end."""
    return ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _checks(folder: Path) -> list[str]:
    """For the job's shell: does the node see the run's folder, and this Python?"""
    token = (folder / "token").read_text(encoding="ascii").strip()
    quoted, python = shlex.quote(str(folder / "token")), shlex.quote(sys.executable)
    # Behind what a job has: where ablate was imported from, if it is not installed.
    root = Path(ablate.__file__).resolve().parent.parent
    path = [] if root.name in ("site-packages", "dist-packages") else [f"export PYTHONPATH={_behind(root)}"]
    return [
        f'[ "$(cat {quoted} 2>/dev/null)" = {token} ] || exit {NOT_SHARED}',
        f"[ -x {python} ] || exit {NO_PYTHON}",
        # Where it is absent Slurm starts a job elsewhere, and relative paths would lead there.
        f"cd {shlex.quote(str(Path.cwd()))} || exit {NO_FOLDER}",
        *path,
    ]


def _behind(root: Path) -> str:
    return '"${PYTHONPATH:+$PYTHONPATH:}"' + shlex.quote(str(root))


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """A run may be a job itself: what sbatch would take over from that one is hidden meanwhile."""
    inside = "SLURM_JOB_ID" in os.environ
    hidden = {
        name: os.environ.pop(name)
        for name in tuple(os.environ)
        # Which cluster it is (SLURM_CONF) holds for all jobs.
        if inside and name.startswith(_OF_A_JOB) and not name.startswith("SLURM_CONF")
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _answer(command: Sequence[str]) -> str | None:
    """What a command of Slurm's prints; None where nobody answers. Ctrl-C at a terminal is not for it."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=_ASK_S, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return done.stdout


def _read_squeue(line: str) -> Iterator[tuple[str, State]]:
    """A task of an array goes by that, and not by the number of its own that it has besides."""
    fields, rest = [], line
    for width in _WIDTHS.values():
        fields.append(rest[:width].strip())
        rest = rest[width:]
    array, task, job_id, name, status, node, reason = fields
    if name:
        waits = reason if name == "PENDING" and reason != "None" else ""
        yield (f"{array}_{task}" if task.isdigit() else job_id), State(name, *_exit(status), node, waits)


def _exit(status: str) -> tuple[int, int]:
    """Exit code and signal from what wait(2) gives."""
    number = int(status) if status.isdigit() else 0
    return ((number >> 8) & 0xFF, 0) if number & 0x7F == 0 else (0, number & 0x7F)


def _read_sacct(line: str) -> Iterator[tuple[str, State]]:
    fields = line.split("|")
    if len(fields) == 4 and fields[1]:
        job_id, name, status, node = fields
        code, _, number = status.partition(":")
        # "CANCELLED by 1000"
        yield job_id, State(name.split()[0], int(code or 0), int(number or 0), node)


def _last_line(text: str) -> str:
    """Of what sbatch says, without its own name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ") if lines else "it does not say why"


@dataclass
class StandInQueue:
    """submitit's own local cluster: jobs are processes here, warned and requeued as by Slurm.

    To try what runs on a cluster where there is none.
    """

    options: SlurmOptions = field(default_factory=SlurmOptions)
    arrays: bool = False
    largest: int = 1000
    _jobs: dict[str, Any] = field(default_factory=dict)

    def send(self, tasks: Sequence[Task], folder: Path, at_once: int) -> list[str]:
        from submitit import AutoExecutor

        executor = AutoExecutor(folder, cluster="local")
        minutes = (self.options.time_s or 86400.0) / 60
        executor._executor.update_parameters(timeout_min=minutes, signal_delay_s=self.options.signal_before_s)
        jobs = [executor.submit(task) for task in tasks]
        self._jobs.update({job.job_id: job for job in jobs})
        return [job.job_id for job in jobs]

    def states(self, job_ids: Collection[str]) -> dict[str, State] | None:
        return {job_id: self._state(job_id) for job_id in job_ids}

    def _state(self, job_id: str) -> State:
        job = self._jobs.get(job_id)
        if job is None:  # of a run before this one
            return State("RUNNING") if _command_of(int(job_id)) else GONE
        return State({"RUNNING": "RUNNING", "INTERRUPTED": "CANCELLED"}.get(job.state, "COMPLETED"))

    def sent_from(self, folder: Path, job_ids: Collection[str]) -> set[str] | None:
        return {job_id for job_id in job_ids if str(folder) in _command_of(int(job_id))}

    def cancel(self, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            if self._state(job_id).name == "RUNNING":
                with contextlib.suppress(OSError):
                    os.kill(int(job_id), signal.SIGTERM)


def _command_of(pid: int) -> list[str]:
    """Of a controller of submitit's; empty for any other process."""
    import psutil

    try:
        words = psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError, OverflowError):
        return []
    return words if "submitit.local._local" in words else []


# What a run may be told to send its jobs to.
QUEUES: Mapping[str, Callable[[SlurmOptions, str], Queue]] = {
    "slurm": lambda options, name: SlurmQueue(options, name),
    "local": lambda options, name: StandInQueue(options),
}
