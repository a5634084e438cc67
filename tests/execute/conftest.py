"""Planted jobs in a module of their own, since a spawned worker must be able to import what it runs."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

JOBS = '''
import os
import signal
import sys
import time


def double(item):
    return 2 * item


def environment(name):
    return os.environ.get(name)


def environment_before_start(name):
    """What the process was started with, whatever Python code changed since."""
    with open("/proc/self/environ", "rb") as file:
        pairs = dict(part.split(b"=", 1) for part in file.read().split(b"\\0") if b"=" in part)
    return pairs.get(name.encode(), b"").decode()


def pid(item):
    return os.getpid()


def misbehave(item):
    """Each item names its own fault."""
    if item == "raise":
        raise ValueError("a planted fault")
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "exit":
        os._exit(7)
    if item == "sys.exit":
        sys.exit("leaving")
    if item == "memory":
        raise MemoryError
    if item == "hang":
        time.sleep(600)
    if item == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if item == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if item == "lambda":
        return lambda: None
    if item == "unspeakable":
        raise Unspeakable(open(os.devnull))
    return item


def break_down(item):
    """With standard error in a file, as a trial has it."""
    import ctypes
    fault, path = item.split(" ", 1)
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
    if fault == "exit":
        os._exit(7)
    ctypes.string_at(0)


class Unspeakable(Exception):
    """Cannot be pickled: it holds an open file."""


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def out_of_device_memory(item):
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def touch_and_hang(path):
    """Writes this process's id, starts a grandchild, and waits for ever."""
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.replace(path + ".new", path)
    time.sleep(600)


def hang_or_wait_for(item):
    role, path = item.split()
    if role == "hang":
        touch_and_hang(path)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


def hold_the_interpreter_lock(path):
    """Never gives another thread of this process a turn: no watching thread can end it."""
    import ctypes
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()}")
    os.replace(path + ".new", path)
    ctypes.PyDLL(None).sleep(600)


def kill_own_process_while(item):
    """ "path limit number": dies of the signal as long as the file has fewer lines than the limit."""
    path, limit, number = item.split()
    with open(path, "a") as file:
        file.write("begun\\n")
    if len(open(path).readlines()) <= int(limit):
        os.kill(os.getpid(), int(number))
    return "survived"


def leave_a_result_and_die(path):
    with open(path, "w") as file:
        file.write("finished")
    os.kill(os.getpid(), signal.SIGKILL)


def on_a_cluster(item):
    """As `misbehave`; a good item says what its environment holds."""
    if item == "kill the job":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if item == "hang":
        time.sleep(600)
    misbehave(item)
    return os.environ.get("MARK")


def how_far(item):
    how, path = item.split()
    return f"{how} {how == 'further' and os.path.exists(path)}"


def go_on_from(item):
    """ "how path": comes to the limit of its job, if it is stuck every time, else the first time."""
    how, path = item.split()
    if how == "stuck" or not os.path.exists(path):
        open(path, "a").close()
        os.kill(os.getppid(), signal.SIGUSR2)  # as Slurm warns
        time.sleep(600)
    return "second time"


def begin_and_wait(item):
    marker, release = item.split()
    with open(marker, "a") as file:
        file.write("once ")
    while not os.path.exists(release):
        time.sleep(0.05)
    return open(marker).read().strip()


def wait_for_ever(path):
    open(path, "w").close()
    time.sleep(600)


def leave_pid_and_die(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSEGV)


def write_down_who(path):
    with open(os.path.splitext(path)[0] + ".by", "w") as file:
        file.write(str(os.getpid()))


def wait_for_the_kill(item):
    """Says in a file that it has begun. Those named first and second end when the file "killed" is there."""
    name, folder = item.split(" ", 1)
    with open(f"{folder}/{name}.new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(f"{folder}/{name}.new", f"{folder}/begun-{name}")
    while name in ("first", "second") and not os.path.exists(f"{folder}/killed"):
        time.sleep(0.05)
    return name


def fork_and_die(path):
    """The forked child keeps every pipe of this worker open."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()} {child}")
    os.replace(path + ".new", path)
    os.kill(os.getpid(), signal.SIGKILL)


def pid_and_ask_to_be_replaced(item):
    from ablate.execute import replace_worker
    if item == "spoil":
        replace_worker()
    return os.getpid()


def wait_for_file_then_pid(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


def fault_in_a_library(item):
    import json
    return json.loads("{")


def fault_in_ablate(item):
    from ablate.spec import load_study
    return load_study("no/such/file.yaml")


def raised_from_another(item):
    try:
        fault_in_a_library(item)
    except ValueError as error:
        exec(compile("raise RuntimeError('generated') from error", "<string>", "exec"), {"error": error})


def broken_initializer():
    raise RuntimeError("a planted fault before the first item")


def die_without_marker():
    if not os.path.exists(os.environ["MARKER"]):
        os._exit(3)


def dying_initializer():
    os._exit(3)


def die_the_first_time():
    marker = os.environ["MARKER"]
    if not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(3)
'''


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> ModuleType:
    folder = tmp_path / "importable"
    folder.mkdir()
    (folder / "planted_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(importlib.sys.modules, "planted_jobs", raising=False)
    return importlib.import_module("planted_jobs")


@pytest.fixture(scope="session")
def ray_cluster():
    """A cluster of one node with two cores, which finds out within seconds that another one died."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    checks = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    }
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "_system_config": checks},
    )
    yield cluster
    cluster.shutdown()
