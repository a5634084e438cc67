"""The study of the campaign, its folder, and `ablate run` as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ablate.store import Store

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
MARK = "CAMPAIGN_MARK"
ORPHANS_AFTER_S = 10.0  # what issue and documentation promise of a killed parent
PATIENCE_S = 600.0  # a run that takes longer hangs
STUDY = """\
name: campaign
baseline: baseline
seeds: [0, 1]
defaults:
  data: {source: digits, fraction: 0.25}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: "faulty:Gate", at: [block1]}
  train: {epochs: 3, batch_size: 16}
variants:
  baseline: {model.attention: null}
  first: {}
  second: {model.attention.at: [block2]}
  both: {model.attention.at: [block1, block2]}
"""


@dataclass
class Folder:
    """A user's folder: the study, the module it names, and the results tree."""

    path: Path
    cache: Path
    group: Path | None = None  # a control group with little memory
    clock: Path | None = None
    library: Path | None = None  # the clock that jumps, compiled
    started: list[Run] = field(default_factory=list)

    def prepare(self) -> None:
        (self.path / "tokens/taken").mkdir(parents=True)
        (self.path / "campaign.yaml").write_text(STUDY)
        shutil.copy(HERE / "faulty.py", self.path)

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def store(self) -> Store:
        return Store(self.results)

    def start(self, *options: str, jump: bool = False, drawn: bool = False) -> Run:
        run = Run(self, options, jump, drawn)
        self.started.append(run)
        return run

    def run(self, *options: str, drawn: bool = False) -> Run:
        """To its end. drawn: with the figures of the report."""
        run = self.start(*options, drawn=drawn)
        run.wait()
        return run

    def clean(self) -> None:
        """What nobody but `ablate clean` removes: temporary files of the study that are hours old."""
        self.ablate("clean", "--yes").check_returncode()

    def ablate(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command than `run`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ablate", command, *arguments],
            cwd=self.path,
            env=self.environment(command, False),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def record_files(self) -> dict[str, bytes]:
        """What lies in the folders of the trials, by path."""
        paths = (path for path in self.results.glob("trials/*/*") if path.is_file())
        return {str(path.relative_to(self.results)): path.read_bytes() for path in sorted(paths)}

    def environment(self, mark: str, jump: bool) -> dict[str, str]:
        given = {
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{self.path}",
            "OMP_NUM_THREADS": "1",
            "ABLATE_CACHE": str(self.cache),
            "CAMPAIGN_TOKENS": str(self.path / "tokens"),
            MARK: mark,
        }
        if self.group is not None:
            given["CAMPAIGN_GROUP"] = str(self.group)
        if jump and self.library is not None:
            given |= {"LD_PRELOAD": str(self.library), "CAMPAIGN_CLOCK": str(self.clock)}
        return given

    # What the tree says, read as JSON so that nothing of the store's is trusted here

    def records(self) -> dict[str, dict]:
        """By trial id; those that are torn are left out."""
        found = {}
        for path in self.results.glob("trials/*/record.json"):
            try:
                found[path.parent.name] = json.loads(path.read_text())
            except (ValueError, OSError):
                continue
        return found

    def done(self) -> set[str]:
        return {name for name, record in self.records().items() if record["status"] == "done"}

    def busy(self) -> list[int]:
        """Process ids of workers that hold a trial now."""
        found = []
        for path in self.results.glob("trials/*.lock"):
            try:
                found.append(int(json.loads(path.read_text())["pid"]))
            except (ValueError, OSError, KeyError, TypeError):
                continue
        return sorted(pid for pid in found if psutil.pid_exists(pid))


class Run:
    """One `ablate run`, in a session of its own."""

    def __init__(self, folder: Folder, options: tuple[str, ...], jump: bool, drawn: bool) -> None:
        self.folder, self.number = folder, len(folder.started)
        self.mark = f"{folder.path}-{self.number}"
        self.log = folder.path / f"run-{self.number:03d}.txt"
        program = ["-m", "ablate"] if drawn else [str(HERE / "undrawn.py")]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *program, "run", "campaign.yaml", "--device", "cpu", "-j", "2", *options],
                cwd=folder.path,
                env=folder.environment(self.mark, jump),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> bool:
        """Whether it was there to get it."""
        if not self.alive:
            return False
        self.process.send_signal(number)
        return True

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code. A run that hangs is an AssertionError, and is killed."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"a run hung for {patience_s:g} s: {self.log}") from None

    def family(self) -> list[psutil.Process]:
        """All that carry the run's mark, wherever they were adopted; zombies are gone already."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def orphans(self) -> list[psutil.Process]:
        """What is left after the time that is promised."""
        until = time.monotonic() + ORPHANS_AFTER_S
        while (left := self.family()) and time.monotonic() < until:
            time.sleep(0.2)
        return left

    def kill_all(self) -> None:
        for process in self.family():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
