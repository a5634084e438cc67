"""An executor from its name: one place for `ablate run` and `ablate tune`, and for what each may be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ablate.environment import available_cores
from ablate.errors import MachineError
from ablate.execute import Executor, InlineExecutor, LocalExecutor
from ablate.runner.carry import JobCarry
from ablate.runner.gpus import worker_slots
from ablate.runner.job import load_libraries
from ablate.runner.losses import let_go

# One thread a worker: on the CPU parallelism comes from workers, and more threads give other last bits.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # cuBLAS reads it once; deterministic trials need it before CUDA starts.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


@dataclass(frozen=True)
class ExecutorOptions:
    """What the user says of where trials run; each executor takes what concerns it.

    ray_address: of a running Ray cluster; None: one is started for the run. slurm: options of the batch
    system by name. per_trial: devices that one trial takes.
    """

    ray_address: str | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)
    per_trial: int = 1


@dataclass(frozen=True)
class Need:
    """What an executor is for.

    root: of the results tree. name: of the study. device: as it was resolved; asked: as the user named it.
    jobs: how many items at once; None: as many as there is room for. most: no more than so many are ever of
    use; None where that is not known. timeout_s: longest time for one item. peak_bytes: measures what the
    largest trial takes of a GPU. travels: each item is a job, whose files can go to a machine that does not
    see the root.
    """

    root: Path
    name: str
    device: str
    asked: str
    jobs: int | None
    most: int | None
    timeout_s: float | None
    peak_bytes: Callable[[], int | None]
    travels: bool = False


def make_executor(executor: str | Executor, need: Need, options: ExecutorOptions | None = None) -> Executor:
    """The executor of this name, or the one that is given.

    Raises MachineError for a name that is not in `EXECUTORS`, for an extra that is not installed, and for an
    option that the executor cannot bear.
    """
    if not isinstance(executor, str):
        return executor
    if executor not in EXECUTORS:
        raise MachineError(f"unknown executor {executor!r}; this version has: {', '.join(EXECUTORS)}")
    options = options or ExecutorOptions()
    for field_name, (option, owner) in _OWNED.items():
        if getattr(options, field_name) and owner != executor:
            raise MachineError(f"{option} goes with --executor {owner}, not with --executor {executor}")
    return EXECUTORS[executor](need, options)


# Fields of `ExecutorOptions` that one executor alone takes: the option that sets each, and whose it is.
_OWNED = {"ray_address": ("--ray-address", "ray"), "slurm": ("--slurm", "slurm")}


def _inline(need: Need, options: ExecutorOptions) -> Executor:
    if options.per_trial > 1:
        raise MachineError(
            "--gpus-per-trial needs --executor local: the inline executor trains in the process that it is in"
        )
    if need.timeout_s is not None:
        raise MachineError("--timeout needs --executor local: the inline executor cannot stop a trial")
    return InlineExecutor()


def _local(need: Need, options: ExecutorOptions) -> Executor:
    slots = worker_slots(need.device, need.asked, need.jobs, need.peak_bytes, options.per_trial)
    return LocalExecutor(
        environment=WORKER_ENVIRONMENT,
        slots=slots if need.most is None else slots[: max(1, need.most)],
        initializer=load_libraries,
    )


def _require(executor: str, package: str) -> None:
    """Before a module that needs an extra is imported: the extra's name is the executor's."""
    if find_spec(package) is None:
        raise MachineError(
            f"--executor {executor} needs {package}, which is not installed\n"
            f'    pip install "ablate-bench[{executor}]"'
        )


def _slurm(need: Need, options: ExecutorOptions) -> Executor:
    _require("slurm", "submitit")
    from ablate.execute.on_slurm.executor import SlurmExecutor
    from ablate.execute.on_slurm.options import GPU_OPTIONS, read_options

    said = dict(options.slurm)
    keys = {key.replace("_", "-") for key in said}
    if need.device.startswith("cuda"):
        if not keys & GPU_OPTIONS:
            said["gpus"] = str(options.per_trial)
    elif options.per_trial > 1 and not keys & {"cpus", "cpus-per-task"}:
        said["cpus"] = str(options.per_trial)
    return SlurmExecutor(
        need.root / ".slurm" / need.name,
        need.jobs or need.most or MOST_SLURM_JOBS,
        read_options(said),
        WORKER_ENVIRONMENT,
        initializer=load_libraries,
        let_go=let_go,
        name=f"ablate-{need.name}",
    )


def _ray(need: Need, options: ExecutorOptions) -> Executor:
    if need.asked.startswith("cuda:"):
        raise MachineError(
            f"--device {need.asked} names a GPU of this machine, but Ray gives them out\n"
            "    with --executor ray say --device cuda"
        )
    _require("ray", "ray")
    from ablate.execute.on_ray.executor import RayExecutor

    on_cuda = need.device.startswith("cuda")
    return RayExecutor(
        options.ray_address,
        need.jobs,
        WORKER_ENVIRONMENT,
        cpus=1 if on_cuda else options.per_trial,
        gpus=_gpu_share(need, options) if on_cuda else 0,
        own_cpus=max(available_cores(), (need.jobs or 1) * options.per_trial),
        initializer=load_libraries,
        let_go=let_go,
        shared=need.root,
        carry=JobCarry() if need.travels else None,
    )


def _gpu_share(need: Need, options: ExecutorOptions) -> float:
    """What Ray is asked for: several trials share a GPU where it bears them, as on this machine."""
    if options.per_trial > 1:
        return options.per_trial
    # On a cluster of this machine alone -j says how many share one, too.
    jobs = need.jobs if options.ray_address is None else None
    slots = worker_slots(need.device, need.asked, jobs, need.peak_bytes)
    return 1 / max(Counter(slot["CUDA_VISIBLE_DEVICES"] for slot in slots).values())


# At once, where neither -j nor the study says how many there can be.
MOST_SLURM_JOBS = 256
# What each needs is imported when it is chosen.
EXECUTORS: dict[str, Callable[[Need, ExecutorOptions], Executor]] = {
    "local": _local,
    "inline": _inline,
    "ray": _ray,
    "slurm": _slurm,
}
