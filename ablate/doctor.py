"""`ablate doctor`: the state of the machine, and the same as text with what is wrong first."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import ablate
from ablate.environment import (
    available_cores,
    cpu_name,
    devices,
    git_state,
    installed_version,
    torch_problem,
    torchvision_problem,
)

_GIB = 2**30
_DISTRIBUTION = "ablate-bench"


@dataclass(frozen=True)
class Place:
    """A folder that the command uses. free_bytes: on its disk, or that of its nearest parent that exists."""

    path: Path
    exists: bool
    writable: bool
    free_bytes: int


@dataclass(frozen=True)
class Survey:
    """What `ablate doctor` prints. `packages`: distribution -> version, None when absent."""

    ablate: str
    python: str
    platform: str
    packages: dict[str, str | None]
    problems: tuple[str, ...]
    devices: tuple[tuple[str, str, int | None], ...]
    cpu: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    commit: str | None
    places: dict[str, Place]


def survey(places: dict[str, str | Path]) -> Survey:
    """The state of the machine. Says what is wrong in `problems` and raises nothing for it.

    places: what lies where, such as {"results": "results", "data cache": …}.
    """
    import psutil

    packages = {name: installed_version(name) for name in dependencies()}
    problems = [f"{name} is not installed" for name, version in packages.items() if version is None]
    broken_torch = torch_problem()
    problems += [problem for problem in (broken_torch or torchvision_problem(),) if problem]
    memory = psutil.virtual_memory()
    located = {name: _place(Path(path)) for name, path in places.items()}
    problems += [
        f"{name}: {place.path} cannot be written" for name, place in located.items() if not place.writable
    ]
    return Survey(
        ablate=ablate.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages,
        problems=tuple(problems),
        devices=(("cpu", cpu_name(), None),) if broken_torch else devices(),
        cpu=cpu_name(),
        cores=available_cores(),
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        commit=git_state(Path.cwd())[0],
        places=located,
    )


def dependencies() -> tuple[str, ...]:
    """Names of the distributions that this one requires, extras left out."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        required = ["torch", "torchvision", "numpy", "pandas"]
    names = [re.match(r"[A-Za-z0-9._-]+", line) for line in required if "extra ==" not in line]
    return tuple(name.group() for name in names if name)


def _place(path: Path) -> Place:
    path = path.absolute()
    standing = next(folder for folder in (path, *path.parents) if folder.exists())
    return Place(
        path=path,
        exists=path.exists(),
        writable=standing.is_dir() and os.access(standing, os.W_OK),
        free_bytes=shutil.disk_usage(standing).free,
    )


def render_survey(survey: Survey) -> str:
    """Problems, then versions, devices, threads, memory, and the folders with the space left there."""
    lines = [f"problem: {problem}" for problem in survey.problems] or ["no problem found"]
    lines += ["", f"ablate {survey.ablate}, Python {survey.python}, {survey.platform}"]
    lines += [f"commit here: {survey.commit}"] if survey.commit else []
    lines += ["", "devices"]
    for name, described, memory_bytes in survey.devices:
        memory = f", {memory_bytes / _GIB:.1f} GiB" if memory_bytes else ""
        lines.append(f"  {name:<8} {described}{memory}")
    lines += [
        f"  cores    {survey.cores} to use: on the CPU as many workers, one thread each",
        f"  memory   {survey.memory_free_bytes / _GIB:.1f} of {survey.memory_bytes / _GIB:.1f} GiB free",
        "",
        "folders",
    ]
    width = max(map(len, survey.places), default=0)
    for name, place in survey.places.items():
        state = "" if place.exists else ", not there yet"
        lines.append(f"  {name:<{width}}  {place.path}  ({place.free_bytes / _GIB:.0f} GiB free{state})")
    lines += ["", "libraries"]
    width = max(map(len, survey.packages), default=0)
    lines += [f"  {name:<{width}}  {version or 'absent'}" for name, version in survey.packages.items()]
    return "\n".join(lines)
