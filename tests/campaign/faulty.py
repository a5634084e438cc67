"""A gate that breaks its trial when a token tells it to: the faults that come from within.

A token is a file in the folder CAMPAIGN_TOKENS, named ``NUMBER.KIND.STEP``. The first training step of a
process from STEP on takes it, by a rename that one process alone wins, and does what KIND says, once.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

_steps = 0


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        poison = 1.0
        # Planning runs the network as well, in the parent; these faults are those of a trial.
        if self.training and "ABLATE_WORKER" in os.environ:
            time.sleep(0.004)  # so that there is time to be killed in
            kind = _token()
            poison = float("nan") if kind == "nan" else 1.0
            if kind in FAULTS:
                FAULTS[kind]()
        return x * self.scale * poison


def _token():
    global _steps
    _steps += 1
    folder = Path(os.environ.get("CAMPAIGN_TOKENS", "/nowhere"))
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name.count(".") == 2)
    except OSError:
        return None
    for name in names:
        _, kind, step = name.split(".")
        if _steps >= int(step):
            try:
                (folder / name).rename(folder / "taken" / name)
            except OSError:
                continue
            return kind
    return None


def _raise():
    raise RuntimeError("a planted fault")


def _shape():
    torch.ones(2, 3) @ torch.ones(2, 3)


def _memory():
    """A real refusal: the limit on the address space lies a little above what is in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
    torch.empty(2**30, dtype=torch.uint8).fill_(1)


def _kernel():
    """A real kill for want of memory, in a control group that the campaign has made."""
    Path(os.environ["CAMPAIGN_GROUP"], "cgroup.procs").write_text(str(os.getpid()))
    torch.empty(2**28, dtype=torch.uint8).fill_(1)
    time.sleep(60)


def _hang():
    subprocess.Popen(["sleep", "600"])
    time.sleep(600)


FAULTS = {
    "raise": _raise,
    "shape": _shape,
    "memory": _memory,
    "kernel": _kernel,
    "hang": _hang,
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: sys.exit(3),
    "vanish": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
