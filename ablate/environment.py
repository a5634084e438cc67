"""The machine: what it is, what it can run, what is missing on it. Importing this module loads no torch."""

from __future__ import annotations

import ast
import ctypes
import functools
import hashlib
import importlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import ablate
from ablate.errors import MachineError
from ablate.record import Environment

DIFF_LIMIT_BYTES = 16 * 1024
GIT_TIMEOUT_S = 10.0


# Libraries


def require_torch() -> ModuleType:
    """torch, imported. Raises MachineError in one sentence when it is absent or broken."""
    problem = torch_problem()
    if problem:
        raise MachineError(problem)
    return importlib.import_module("torch")


def require_torchvision() -> ModuleType:
    """torchvision with its operators, imported. Raises MachineError when absent or made for another torch."""
    require_torch()
    problem = torchvision_problem()
    if problem:
        raise MachineError(problem)
    return importlib.import_module("torchvision")


def torch_problem() -> str | None:
    """Why torch cannot be used, with the command that mends it; None when it can."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return f"torch is not installed; install it with its torchvision: {_install_command(None)}"
        return _cannot_import_torch(error)
    except Exception as error:  # a broken shared library raises OSError, a broken build anything
        return _cannot_import_torch(error)
    return None


def _cannot_import_torch(error: Exception) -> str:
    version = installed_version("torch")
    mend = _install_command(version or "")
    return (
        f"torch {version} is installed but cannot be imported ({_one_line(error)}); install it anew: {mend}"
    )


def torchvision_problem() -> str | None:
    """Why torchvision cannot be used beside this torch; None when it can. Ask only where torch works."""
    torch = importlib.import_module("torch")
    mend = _install_command(torch.__version__)
    try:
        importlib.import_module("torchvision")
        # The import may pass without the compiled operators; this one is in every build.
        reason = "" if hasattr(torch.ops.torchvision, "nms") else "its operator torchvision::nms is missing"
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return f"torchvision is not installed beside torch {torch.__version__}; install both: {mend}"
        reason = _one_line(error)
    except Exception as error:  # RuntimeError for a missing operator, OSError for a missing symbol
        reason = _one_line(error)
    if not reason:
        return None
    pair = f"torch {torch.__version__} and torchvision {installed_version('torchvision')}"
    return f"{pair} do not match ({reason}); install a matching pair: {mend}"


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """What torch says of itself. cuda, hip: the version that it was built for, None without."""

    version: str
    cuda: str | None
    hip: str | None
    commit: str | None


def torch_build() -> TorchBuild | None:
    """Without importing torch where it is not imported yet; None where that does not tell."""
    if "torch" in sys.modules:
        torch = require_torch()
        said = {"__version__": str(torch.__version__), **vars(torch.version)}
    else:
        said = _said_by_torch()
    if not isinstance(said.get("__version__"), str):
        return None
    cuda, hip, commit = (said.get(name) for name in ("cuda", "hip", "git_version"))
    return TorchBuild(said["__version__"], cuda, hip, commit)


@functools.cache
def _said_by_torch() -> Mapping[str, Any]:
    """The constants of its version.py, which its build wrote; nothing where it cannot be read."""
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or not spec.submodule_search_locations:
            return {}
        file = Path(spec.submodule_search_locations[0]) / "version.py"
        found = {}
        for line in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
                target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
                if isinstance(target, ast.Name):
                    found[target.id] = ast.literal_eval(line.value)
        return found
    except (OSError, ValueError, SyntaxError):
        return {}


def _install_command(torch_version: str | None) -> str:
    """pip itself picks the pair, from the index that the installed build of torch came from ("2.9.0+cpu")."""
    build = (torch_version or "").partition("+")[2]
    known = re.fullmatch(r"cpu|cu\d+", build)
    index = f" --index-url https://download.pytorch.org/whl/{build}" if known else ""
    force = "" if torch_version is None else "--force-reinstall "
    return f"{Path(sys.executable).name} -m pip install {force}torch torchvision{index}"


def installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .")


# Devices


def resolve_device(device: str) -> str:
    """ "auto", "cpu", "cuda", "cuda:N" or "mps" -> "cpu", "cuda:N" or "mps".

    auto: the first CUDA device, else the CPU; mps must be asked for by name. Raises MachineError for a device
    that is not there, naming those that are.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise MachineError(f"unknown device {device!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    build = torch_build() if device in ("auto", "cpu") else None
    if build is not None and (device == "cpu" or _has_surely_no_cuda(build)):
        return "cpu"
    torch = require_torch()
    present = [name for name, _, _ in devices()]
    if device == "auto":
        return "cuda:0" if "cuda:0" in present else "cpu"
    wanted = "cuda:0" if device == "cuda" else device
    if wanted in present:
        return wanted
    built = ""
    if wanted.startswith("cuda") and torch.version.cuda is None:
        built = f" (torch {torch.__version__} is built without CUDA)"
    raise MachineError(f"there is no device {device!r} here{built}; there is: {', '.join(present)}")


def _has_surely_no_cuda(build: TorchBuild) -> bool:
    """Whether it is plain without torch that it would find no CUDA device: built without, or no driver."""
    if "torch" in sys.modules or sys.platform != "linux" or build.hip is not None:
        return False
    if build.cuda is None:
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def devices() -> tuple[tuple[str, str, int | None], ...]:
    """(device, name, bytes of its own memory) of all that torch can run on here; the CPU comes first."""
    torch = require_torch()
    found: list[tuple[str, str, int | None]] = [("cpu", cpu_name(), None)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append((f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU", None))
    return tuple(found)


def cpu_name() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        named = _output(["sysctl", "-n", "machdep.cpu.brand_string"], cwd=None)
        if named:
            return named.decode(errors="replace").strip()
    return platform.processor() or platform.machine() or "unknown"


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota rounded down, at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cgroup_quota(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """The smallest CPU quota of this process's control groups and their parents, in cores; None if none."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            tree = root
        elif "cpu" in controllers.split(","):
            tree = root / controllers if (root / controllers).is_dir() else root / "cpu"
        else:
            continue
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            quotas += _quota_of(folder)
            if folder == tree:
                break
    return min(quotas, default=None)


def _quota_of(folder: Path) -> list[float]:
    """Version 2 keeps "quota period" in one file, version 1 in two; "max" and -1 mean: no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return []
    return [] if quota in ("max", "-1") else [int(quota) / int(period)]


# Records


def describe(
    device: str, *, threads: int | None = None, deterministic: bool = False, cwd: str | Path | None = None
) -> Environment:
    """Where and with what figures are obtained now.

    device: as `resolve_device` gives it. threads: of one trial; by default what torch uses now. cwd: a folder
    whose repository is recorded; by default the current one. On the CPU with threads given, torch is not
    loaded for it.
    """
    commit, diff = git_state(Path.cwd() if cwd is None else Path(cwd))
    if device == "cpu" and threads is not None and (build := torch_build()) is not None:
        version, device_name, cuda, cudnn = build.version, cpu_name(), None, None
    else:
        torch = require_torch()
        names = {name: label for name, label, _ in devices()}
        if device not in names:
            raise MachineError(f"there is no device {device!r} here; there is: {', '.join(names)}")
        on_cuda = device.startswith("cuda")
        version, device_name = torch.__version__, names[device]
        cuda = torch.version.cuda if on_cuda else None
        cudnn = torch.backends.cudnn.version() if on_cuda else None
        threads = torch.get_num_threads() if threads is None else threads
    return Environment(
        ablate=ablate.__version__,
        python=platform.python_version(),
        torch=version,
        torchvision=installed_version("torchvision"),
        numpy=installed_version("numpy") or "unknown",
        platform=platform.platform(),
        machine=machine_name(device),
        cpu=cpu_name(),
        cpu_count=available_cores(),
        threads=threads,
        device=device,
        device_name=device_name,
        cuda=cuda,
        cudnn=None if cudnn is None else str(cudnn),
        deterministic=deterministic,
        commit=commit,
        diff=diff,
    )


def machine_name(device: str = "cpu") -> str:
    """Host and kind of device, "lab3-cpu" or "lab3-nvidia-h100", in [a-z0-9-] and at most 48 characters.

    Cost records are filed under it. The variable ABLATE_MACHINE replaces the host, for containers whose host
    name changes with every start, or for results to be published.
    """
    host = os.environ.get("ABLATE_MACHINE") or platform.node().partition(".")[0]
    kind = device.partition(":")[0]
    if kind == "cuda":
        index = int(device.partition(":")[2] or 0)
        kind = " ".join(require_torch().cuda.get_device_properties(index).name.split()[:3])
    slug = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:24].strip("-") or "machine"
    return f"{slug}-{re.sub(r'[^a-z0-9]+', '-', kind.lower()).strip('-')[:23]}".strip("-")


def git_state(cwd: str | Path) -> tuple[str | None, str | None]:
    """(commit, uncommitted changes to tracked files) of the repository around `cwd`; None for what is not.

    Changes longer than 16 KiB are given as "sha256:… (N bytes)". Files that git does not track are left out.
    """
    head = _output(["git", "rev-parse", "--verify", "HEAD"], cwd)
    if head is None:
        return None, None
    # Nothing that the repository's own configuration names is to run here.
    safe = [
        "git",
        "-c",
        "core.fsmonitor=false",
        "diff",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "HEAD",
    ]
    diff = _output(safe, cwd)
    if not diff:
        changes = None
    elif len(diff) <= DIFF_LIMIT_BYTES:
        changes = diff.decode(errors="replace")
    else:
        changes = f"sha256:{hashlib.sha256(diff).hexdigest()} ({len(diff)} bytes)"
    return head.decode().strip(), changes


def _output(command: list[str], cwd: str | Path | None) -> bytes | None:
    """Standard output, or None when the program is absent, fails or takes too long."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
