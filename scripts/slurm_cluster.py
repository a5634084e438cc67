"""A Slurm cluster of this one machine, for tests and to try `--executor slurm` on. No systemd, no accounting.

    python scripts/slurm_cluster.py start DIR [--cpus 4] [--hide FOLDER]
    python scripts/slurm_cluster.py stop DIR

`start` writes keys, configuration, state and logs into DIR, starts munged, slurmctld and slurmd, waits until
the node takes jobs, and prints the line that points Slurm's commands at it. `stop` cancels all jobs and ends
the three. Needs Debian's `slurm-wlm` (or the like), and root or sudo, as jobs are started by slurmd.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# CPUs: as many as asked for, whatever the machine has; memory is not handed out.
CONFIGURATION = """\
ClusterName=ablate
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
# cred_expire: also how many seconds a requeued job waits before it may start again.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# Neither takes a control group, which a container may not make.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The node says that it has the CPUs of its NodeName line: more than the machine, if need be.
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
UP_S, DOWN_S = 60.0, 30.0
# Where Debian has the daemons, whatever the user's own path.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


def start(folder: Path, cpus: int, hide: Path | None) -> Path:
    """The configuration that SLURM_CONF is to name. hide: a folder that jobs see empty."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    _start_munged(folder / "munge")
    configuration = folder / "slurm.conf"
    controller_port, node_port = _free_ports(2)
    host = platform.node().partition(".")[0]
    configuration.write_text(
        CONFIGURATION.format(
            host=host, folder=folder, cpus=cpus, controller_port=controller_port, node_port=node_port
        ),
        encoding="utf-8",
    )
    _as_root(["slurmctld", "-f", str(configuration)])
    node = ["slurmd", "-f", str(configuration), "-N", host]
    if hide is not None:
        hide.mkdir(parents=True, exist_ok=True)
        script = f"mount -t tmpfs none {shlex.quote(str(hide))} && exec {shlex.join(node)}"
        node = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    _as_root(node)
    _wait_for_idle(configuration, folder)
    return configuration


def _start_munged(folder: Path) -> None:
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    _as_root(["chown", "-R", "root", str(folder)])
    _as_root(["chmod", "755", str(folder)])
    files = {"key-file": key, "socket": folder / "socket", "pid-file": folder / "pid"}
    files |= {"log-file": folder / "log", "seed-file": folder / "seed"}
    _as_root(["munged", "--force", *(f"--{name}={path}" for name, path in files.items())])


def stop(folder: Path) -> None:
    configuration = folder / "slurm.conf"
    if configuration.exists():
        _run(["scancel", "--quiet", "--state=PENDING"], configuration)
        _run(["scancel", "--quiet", "--signal=KILL", "--state=RUNNING"], configuration)
        until = time.monotonic() + DOWN_S
        while _run(["squeue", "--noheader"], configuration).strip() and time.monotonic() < until:
            time.sleep(0.5)
    for pid_file in (folder / "slurmd.pid", folder / "slurmctld.pid", folder / "munge" / "pid"):
        _end(pid_file)


def _end(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not Path(f"/proc/{pid}").exists():
            return
        _as_root(["kill", f"-{int(number)}", str(pid)], check=False)
        until = time.monotonic() + DOWN_S / 2
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.1)


def _wait_for_idle(configuration: Path, folder: Path) -> None:
    until = time.monotonic() + UP_S
    while "idle" not in _run(["sinfo", "--noheader", "--format=%t"], configuration):
        if time.monotonic() > until:
            stop(folder)
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
            raise SystemExit(f"the cluster did not come up within {UP_S:g} s:\n{logs}")
        time.sleep(0.3)


def _as_root(command: list[str], *, check: bool = True) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run(
        [*prefix, *command], env={**os.environ, "PATH": PATH}, stdin=subprocess.DEVNULL, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}")


def _run(command: list[str], configuration: Path) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": PATH, "SLURM_CONF": str(configuration)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpus", type=int, default=4, help="that the node says it has")
    parser.add_argument("--hide", type=Path, help="a folder that jobs see empty")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if absent := missing():
        raise SystemExit(f"not installed: {', '.join(absent)}; on Debian: apt-get install slurm-wlm")
    if asked.what == "stop":
        stop(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty: stop what runs there, and remove it")
    else:
        print(f"export SLURM_CONF={shlex.quote(str(start(folder, asked.cpus, asked.hide)))}")


if __name__ == "__main__":
    sys.exit(main())
