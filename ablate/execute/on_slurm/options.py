"""What a user says of Slurm jobs, `KEY=VALUE` by `KEY=VALUE`, held against what sbatch takes.

sbatch itself finds out what a cluster lacks (a partition, an account); a key that it does not know would only
come to light in its own words, one at a time. Source: the manual of sbatch, Slurm 22.05 to 24.11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ablate.errors import Problems, did_you_mean

# Options of sbatch that say what a job may have and where it runs.
_NAMES = """
    account acctg-freq bb bbf begin cluster-constraint clusters comment constraint container contiguous
    core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    exclude exclusive export extra extra-node-info gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
    gpus-per-task gres gres-flags hint hold licenses mail-type mail-user mcs-label mem mem-bind
    mem-per-cpu mem-per-gpu mincpus network nice nodefile nodelist overcommit oversubscribe partition
    power prefer priority profile propagate qos reboot reservation sockets-per-node spread-job switches
    thread-spec threads-per-core time time-min tmp tres-per-task use-min-nodes wckey
"""
SBATCH = tuple(_NAMES.split())
# Any of them gives a job its GPUs.
GPU_OPTIONS = frozenset(
    {"gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "tres-per-task"}
)
# Without a value on sbatch's own command line.
_SWITCHES = frozenset(
    {
        "contiguous",
        "exclusive",
        "hold",
        "overcommit",
        "oversubscribe",
        "reboot",
        "spread-job",
        "use-min-nodes",
    }
)
_SHORT = {"cpus": "cpus-per-task"}
# Not sbatch's: lines for the shell before Python starts, seconds between the warning and a time limit, and
# how often a job may come to its time limit.
OWN = ("setup", "signal-before", "requeues")
_SET_HERE = {
    "array": "-j says how many run at once",
    "chdir": "jobs run where the run was started",
    "error": "it lies in the results tree",
    "job-name": "jobs carry the study's name",
    "nodes": "a trial runs on one node",
    "no-requeue": "requeues=0 says it",
    "ntasks": "a trial is one task",
    "ntasks-per-node": "a trial is one task",
    "open-mode": "logs are added to",
    "output": "it lies in the results tree",
    "requeue": "requeues=N says how often",
    "signal": "signal-before=SECONDS says when",
}
DEFAULT_REQUEUES = 100
# Enough for a checkpoint on a slow file system; of a short limit no more than its quarter.
_SIGNAL_BEFORE_S, _SIGNAL_SHARE = 90, 0.25
_DAYS = re.compile(r"(?:(?P<days>\d+)-)(?P<hours>\d+)(?::(?P<minutes>\d+))?(?::(?P<seconds>\d+))?")
_CLOCK = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+)(?::(?P<seconds>\d+))")
_MINUTES = re.compile(r"(?P<minutes>\d+)")
_ENDLESS = frozenset({"unlimited", "infinite", "infinity"})


@dataclass(frozen=True)
class SlurmOptions:
    """flags: sbatch's, by their long names; True for a switch. setup: lines for the shell of a job.

    time_s: the time limit of a job; None where the partition sets it. requeues: how often a job goes on after
    its time limit.
    """

    flags: Mapping[str, str | bool] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    time_s: float | None = None
    signal_before_s: int = _SIGNAL_BEFORE_S
    requeues: int = DEFAULT_REQUEUES

    @property
    def cpus(self) -> str | None:
        """Of a task: srun does not take it over from sbatch since Slurm 22.05."""
        found = self.flags.get("cpus-per-task")
        return found if isinstance(found, str) else None


def read_options(said: Mapping[str, str], *, where: str = "--slurm") -> SlurmOptions:
    """The options behind keys and values as text. Raises StudyError with all that is wrong."""
    problems = Problems()
    flags: dict[str, str | bool] = {}
    own: dict[str, str] = {}
    for key, value in said.items():
        name = key.strip().lstrip("-").replace("_", "-")
        name = _SHORT.get(name, name)
        if name in _SET_HERE:
            problems.add(f"is set by ablate: {_SET_HERE[name]}", where=where, field=key)
        elif name not in SBATCH and name not in OWN:
            hint = did_you_mean(name, (*SBATCH, *OWN, *_SHORT))
            problems.add("is no option of sbatch", where=where, field=key, allowed=allowed(), hint=hint)
        elif "\n" in value or not (value.strip() or name in _SWITCHES):
            problems.add(f"has the value {value!r}", where=where, field=key, allowed=("one line of text",))
        elif name in OWN:
            own[name] = value
        else:
            flags[name] = _switch(value) if name in _SWITCHES else value
    time_s = _time_s(flags.get("time"), problems, where)
    requeues = _whole(own.get("requeues"), DEFAULT_REQUEUES, "requeues", problems, where)
    before_s = _SIGNAL_BEFORE_S if time_s is None else min(_SIGNAL_BEFORE_S, int(time_s * _SIGNAL_SHARE))
    before_s = _whole(own.get("signal-before"), before_s, "signal-before", problems, where)
    problems.raise_if_any()
    setup = (own["setup"],) if "setup" in own else ()
    return SlurmOptions(
        {name: value for name, value in flags.items() if value is not False},
        setup,
        time_s,
        before_s,
        requeues,
    )


def allowed() -> tuple[str, ...]:
    """Every key, as an error lists them."""
    return (*sorted((*SBATCH, *_SHORT)), *OWN)


def _switch(value: str) -> str | bool:
    """`exclusive=user` is a value; yes and no are none."""
    return {"": True, "true": True, "yes": True, "1": True, "false": False, "no": False}.get(
        value.strip().lower(), value
    )


def _whole(text: str | None, default: int, key: str, problems: Problems, where: str) -> int:
    if text is None:
        return default
    if not (text.strip().isascii() and text.strip().isdigit()):
        problems.add(f"is {text!r}", where=where, field=key, allowed=("a whole number, 0 or more",))
        return default
    return int(text)


def _time_s(value: str | bool | None, problems: Problems, where: str) -> float | None:
    """Seconds, from what sbatch takes: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    if value is None or str(value).strip().lower() in _ENDLESS:
        return None
    for pattern in (_DAYS, _CLOCK, _MINUTES):
        if found := pattern.fullmatch(str(value).strip()):
            parts = {name: int(digits or 0) for name, digits in found.groupdict().items()}
            hours = 24 * parts.get("days", 0) + parts.get("hours", 0)
            seconds = 3600 * hours + 60 * parts.get("minutes", 0) + parts.get("seconds", 0)
            if seconds:
                return float(seconds)
    problems.add(
        f"is {value!r}",
        where=where,
        field="time",
        allowed=("minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours", "days-hours:minutes"),
    )
    return None
