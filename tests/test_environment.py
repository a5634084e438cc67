"""What is said of the machine, and of a torch and torchvision that do not match."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ablate
from ablate import environment
from ablate.environment import (
    TorchBuild,
    cgroup_quota,
    describe,
    git_state,
    machine_name,
    require_torch,
    require_torchvision,
    resolve_device,
)
from ablate.errors import MachineError


def test_importing_it_loads_no_torch():
    code = "import sys, ablate.environment; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )


# Libraries


def test_a_matching_pair_is_given_back():
    assert require_torch().__name__ == "torch"
    assert require_torchvision().__name__ == "torchvision"


def test_a_missing_operator_is_one_sentence_with_both_versions_and_the_remedy(
    no_torchvision, tmp_path, fake_torchvision
):
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    no_torchvision.syspath_prepend(tmp_path)
    no_torchvision.setattr("torch.__version__", "2.9.0+cpu")
    with pytest.raises(MachineError) as caught:
        require_torchvision()
    assert re.fullmatch(
        r"torch 2\.9\.0\+cpu and torchvision 0\.99\.0 do not match "
        r"\(RuntimeError: operator torchvision::nms does not exist\); install a matching pair: "
        r"python\S* -m pip install --force-reinstall torch torchvision "
        r"--index-url https://download\.pytorch\.org/whl/cpu",
        str(caught.value),
    )


def test_an_import_that_passes_without_the_operators_is_found_out(tmp_path, fake_torchvision):
    fake_torchvision(tmp_path, "")
    code = "from ablate.environment import *; print(torch_problem(), torchvision_problem())"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert "torchvision 0.99.0 do not match (its operator torchvision::nms is missing)" in done.stdout, (
        done.stderr
    )
    assert done.stdout.startswith("None ")


def test_an_absent_torchvision_is_told_from_a_broken_one(no_torchvision, tmp_path, fake_torchvision):
    no_torchvision.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        MachineError, match=r"torchvision is not installed beside torch .*; install both: python"
    ):
        require_torchvision()
    no_torchvision.delitem(sys.modules, "torchvision")
    fake_torchvision(tmp_path, "import a_module_that_it_needs")
    no_torchvision.syspath_prepend(tmp_path)
    with pytest.raises(
        MachineError, match=r"do not match \(ModuleNotFoundError: No module named 'a_module_that"
    ):
        require_torchvision()


def test_an_absent_torch_and_a_broken_one(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MachineError, match=r"^torch is not installed; install it with its torchvision: \S+ -m pip"
    ):
        require_torch()
    monkeypatch.delitem(sys.modules, "torch")
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MachineError,
        match=r"^torch 2\.\S+ is installed but cannot be imported \(OSError: libtorch_cpu.so: cannot",
    ):
        require_torch()


# Devices


def test_devices_are_resolved_or_refused_with_those_that_are_there(monkeypatch):
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setattr(environment, "devices", lambda: (("cpu", "a chip", None),))
    assert resolve_device("auto") == "cpu"
    with pytest.raises(MachineError, match=r"no device 'cuda:1' here.*; there is: cpu$"):
        resolve_device("cuda:1")
    with pytest.raises(MachineError, match=r"no device 'mps' here; there is: cpu$"):
        resolve_device("mps")
    with pytest.raises(MachineError, match="unknown device 'gpu'; allowed: auto, cpu, cuda, cuda:N, mps"):
        resolve_device("gpu")
    cards = tuple((f"cuda:{index}", "a card", 2**34) for index in range(2))
    monkeypatch.setattr(
        environment, "devices", lambda: (("cpu", "a chip", None), *cards, ("mps", "it", None))
    )
    assert [resolve_device(name) for name in ("auto", "cuda", "cuda:1", "mps", "cpu")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "mps",
        "cpu",
    ]


def test_a_build_without_cuda_is_named(monkeypatch):
    monkeypatch.setattr(environment, "devices", lambda: (("cpu", "a chip", None),))
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(MachineError, match=r"no device 'cuda' here \(torch \S+ is built without CUDA\)"):
        resolve_device("cuda")


def control_group(folder: Path, membership: str, files: dict[str, str]) -> float | None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "membership").write_text(membership)
    return cgroup_quota(folder, folder / "membership")


def test_the_smallest_quota_on_the_way_up_counts(tmp_path):
    files = {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}
    assert control_group(tmp_path, "0::/a/b\n", files) == 1.5


def test_version_1_quotas_are_read_too(tmp_path):
    files = {"cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "50000\n"}
    membership = "4:memory:/job\n3:cpu,cpuacct:/job\n"
    assert control_group(tmp_path, membership, files) == 4.0


def test_no_quota_is_none(tmp_path):
    assert control_group(tmp_path, "0::/\n", {"cpu.max": "max 100000"}) is None
    assert cgroup_quota(tmp_path, tmp_path / "absent") is None


def test_cores_are_bounded_by_the_quota_and_never_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quota, cores in ((None, 8), (2.5, 2), (0.5, 1), (64.0, 8)):
        monkeypatch.setattr(environment, "cgroup_quota", lambda quota=quota: quota)
        assert environment.available_cores() == cores


# Records


def test_an_environment_says_where_a_figure_comes_from(tmp_path):
    import numpy
    import torch

    found = describe("cpu", threads=1, deterministic=True, cwd=tmp_path)
    assert (found.ablate, found.torch, found.numpy) == (
        ablate.__version__,
        torch.__version__,
        numpy.__version__,
    )
    assert (found.device, found.threads, found.deterministic) == ("cpu", 1, True)
    assert found.device_name == found.cpu != ""
    assert found.cuda is None and found.commit is None and found.diff is None
    assert describe("cpu", cwd=tmp_path).threads == torch.get_num_threads()
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_a_cpu_is_described_without_torch_as_with_it(tmp_path):
    code = (
        "import sys\nfrom ablate.environment import describe, resolve_device, torch_build\n"
        "def said():\n"
        "    return torch_build(), describe('cpu', threads=1, cwd=sys.argv[1]), resolve_device('cpu')\n"
        "before = said()\nassert 'torch' not in sys.modules\n"
        "auto = resolve_device('auto')\n"
        "import torch\nassert said() == before, (said(), before)\nassert resolve_device('auto') == auto\n"
        "assert before[0].version == torch.__version__"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_torch_without_a_word_on_its_build_is_loaded(monkeypatch):
    import torch

    monkeypatch.setattr("ablate.environment.torch_build", lambda: None)
    assert describe("cpu", threads=1).torch == torch.__version__
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("build", "driver", "none"),
    [
        (TorchBuild("2.9.0+cpu", None, None, None), True, True),
        (TorchBuild("2.9.0", "12.8", None, None), False, True),
        (TorchBuild("2.9.0", "12.8", None, None), True, False),
        (TorchBuild("2.9.0", None, "6.2", None), False, False),
    ],
)
def test_no_cuda_is_sure_only_without_a_build_or_a_driver_for_it(monkeypatch, build, driver, none):
    def load(name):
        if not driver:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ablate.environment.ctypes.CDLL", load)
    assert environment._has_surely_no_cuda(build) is none


def test_machine_names_are_short_stable_and_fit_a_file_name(monkeypatch):
    monkeypatch.delenv("ABLATE_MACHINE", raising=False)
    monkeypatch.setattr("platform.node", lambda: "Lab_3.example.org")
    assert machine_name() == machine_name("cpu") == "lab-3-cpu"
    monkeypatch.setenv("ABLATE_MACHINE", "The Big Box")
    assert machine_name("mps") == "the-big-box-mps"
    monkeypatch.setenv("ABLATE_MACHINE", "é" * 80 + "x" * 80)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,47}", machine_name())
    monkeypatch.setenv("ABLATE_MACHINE", "///")
    assert machine_name() == "machine-cpu"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("width = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_commit_and_changes(repository):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(repository) == (commit, None)
    (repository / "model.py").write_text("width = 2\n")
    (repository / "new.py").write_text("")
    inner = repository / "inner"
    inner.mkdir()
    seen, diff = git_state(inner)
    assert seen == commit
    assert "-width = 1\n+width = 2\n" in diff and "new.py" not in diff


def test_long_changes_are_hashed(repository):
    (repository / "model.py").write_text("x = 'é'\n" * 5000)
    _, diff = git_state(repository)
    whole = subprocess.run(["git", "diff", "HEAD"], cwd=repository, capture_output=True).stdout
    assert diff == f"sha256:{hashlib.sha256(whole).hexdigest()} ({len(whole)} bytes)"


def test_what_a_repository_configures_is_not_run(repository):
    script = repository / "spy.sh"
    script.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.spy.textconv"):
        git(repository, "config", key, str(script))
    (repository / ".gitattributes").write_text("*.py diff=spy\n")
    (repository / "model.py").write_text("width = 2\n")
    assert "+width = 2" in git_state(repository)[1]
    assert not (repository / "ran").exists()


def test_no_repository_no_commit_and_no_git(tmp_path, monkeypatch):
    assert git_state(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == (None, None)


def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 0.2)
    assert git_state(tmp_path) == (None, None)
