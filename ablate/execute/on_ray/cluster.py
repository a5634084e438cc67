"""The Ray cluster that a run uses: one that is there, or one of this machine for as long as the run."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

from ablate.errors import MachineError

# No usage statistics; and no cluster by accident: without the second, any call after a shutdown would start
# a new one.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
_ANSWER_S = 10.0  # for a cluster to take a connection
_NEAR = 1e-6  # thirds of a GPU do not add up


def library() -> Any:
    """Ray: typed in small part only, and slow to import, so it is when it is used."""
    import ray

    return ray


@dataclass
class Cluster:
    """address: of a running cluster, as `ray.init` takes it; None: one is started, and shut down again.

    cpus, gpus: of one worker. own_cpus: of a cluster that is started; its GPUs are those of this machine.
    """

    address: str | None
    cpus: float
    gpus: float
    own_cpus: int
    _connected: bool = False
    _ours: bool = False

    def connect(self) -> None:
        """Raises MachineError where there is no such cluster."""
        if self._connected:
            return
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        ray = library()
        if not ray.is_initialized():  # a program that uses Ray already keeps its cluster
            how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            if self.address is None:
                # An address, so that one in the environment (RAY_ADDRESS) is not taken for this run's.
                how |= {"address": "local", "num_cpus": self.own_cpus, "include_dashboard": False}
                how |= {} if self.gpus else {"num_gpus": 0}
            else:
                how["address"] = self._checked_address(self.address)
            try:
                ray.init(**how)
            except Exception as error:  # each version has its own ways to say that nobody answers
                raise MachineError(self._refused(error)) from error
            self._ours = True
        self._connected = True

    def _checked_address(self, address: str) -> str:
        """Ray itself waits for minutes where nobody answers, and then ends the whole process."""
        if address.startswith("ray://"):
            raise MachineError(
                f"--ray-address {address} is one of Ray's client, which knows of no nodes\n"
                "    run ablate on a node of the cluster, with --ray-address auto"
            )
        host, _, port = address.rpartition(":")
        if address == "auto":
            return address
        if not host or not port.isdigit():
            raise MachineError(f"--ray-address {address!r} is no HOST:PORT; allowed as well: auto")
        try:
            socket.create_connection((host, int(port)), _ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise MachineError(self._refused(error)) from error
        return address

    def _refused(self, error: Exception) -> str:
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if self.address is None:
            return f"Ray cannot be started on this machine: {said}"
        return (
            f"there is no Ray cluster at {self.address!r}: {said}\n"
            "    start one with `ray start --head`, or leave --ray-address out to have one for this run"
        )

    def capacity(self) -> int:
        """How many workers its nodes bear now, whoever else works there."""
        return sum(self._borne(node["Resources"]) for node in library().nodes() if node["Alive"])

    def _borne(self, resources: dict[str, float]) -> int:
        counts = [
            int(resources.get(name, 0.0) / need + _NEAR)
            for name, need in (("CPU", self.cpus), ("GPU", self.gpus))
            if need
        ]
        return min(counts, default=0)

    @property
    def need(self) -> str:
        """Of one worker, in words."""
        words = [
            f"{amount:g} {name}{'s' if amount > 1 else ''}"
            for name, amount in (("CPU", self.cpus), ("GPU", self.gpus))
            if amount
        ]
        return " and ".join(words)

    def can_grow(self) -> bool:
        return self.address is not None

    def disconnect(self) -> None:
        if self._connected and self._ours:
            with contextlib.suppress(Exception):
                library().shutdown()
        self._connected = self._ours = False
