"""What the benchmarks share: rounds there and back, ratios with their spread, made-up images, our own
training brought to a halt after every epoch, and the lines that say where all this ran.

Competitors take turns epoch by epoch, forth and back (A B B A), so that whatever else the machine does meets
them alike. The replicate is the round: a ratio is the median of the rounds' ratios, its spread their
quartiles.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import ablate
from ablate.environment import available_cores, describe, installed_version, require_torch
from ablate.spec import Settings

S1 = {
    "data": {"augment": {"crop": 4, "flip": True, "jitter": 0.2, "rotate": 15}},
    "model": {"backbone": "cnn"},
    "train": {
        "batch_size": 128,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "schedule": {"name": "plateau", "factor": 0.5, "patience": 3},
    },
}
"""The network and the recipe of `studies/cnn-se.yaml`; the images are made up, in CIFAR-10's shape."""


# What ran, and where


def machine(device: str = "cpu", packages: Sequence[str] = ()) -> str:
    """One line: processor, cores, device, system, versions. packages: further distributions to name."""
    torch = require_torch()
    found = describe(device, threads=1)
    names = [f"{name} {installed_version(name) or 'missing'}" for name in packages]
    gpu = [] if device == "cpu" else [f"{found.device_name}, CUDA {found.cuda}"]
    return "; ".join(
        [
            f"{found.cpu}, {available_cores()} of {psutil.cpu_count()} cores, load {_load()}",
            *gpu,
            platform.platform(),
            f"Python {platform.python_version()}, torch {torch.__version__}, ablate {ablate.__version__}"
            + "".join(f", {name}" for name in names),
        ]
    )


def heading(device: str = "cpu", packages: Sequence[str] = ()) -> str:
    """The machine, and the command that gives these figures again."""
    script, *given = sys.argv
    command = " ".join([f"benchmarks/{Path(script).name}", *given])
    return f"{machine(device, packages)}\n$ python {command}\n"


def _load() -> str:
    """Other programs that wanted the processor in the minute before."""
    return f"{psutil.getloadavg()[0]:.1f}"


# Rounds


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.percentile(np.asarray(values, float), (25, 50, 75))
        return cls(float(median), float(low), float(high))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


@dataclass(frozen=True)
class Turns:
    """Of each arm in each round: seconds by the clock, and seconds of this process on the processor.

    Each is the mean of the arm's turn on the way there and that on the way back. Processor time leaves out
    what other programs took meanwhile, but also what this one waited for: the disk, a GPU, its own workers.
    """

    wall_s: dict[str, list[float]]
    processor_s: dict[str, list[float]]


def take_turns(arms: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True) -> Turns:
    """warm_up: every arm runs once before, unmeasured, as it may have something to load or to start."""
    for arm in arms.values() if warm_up else ():
        arm()
    found = Turns({name: [] for name in arms}, {name: [] for name in arms})
    for _ in range(rounds):
        wall, processor = dict.fromkeys(arms, 0.0), dict.fromkeys(arms, 0.0)
        for name in (*arms, *reversed(arms)):
            began, began_on = time.perf_counter(), time.process_time()
            arms[name]()
            wall[name] += (time.perf_counter() - began) / 2
            processor[name] += (time.process_time() - began_on) / 2
        for name in arms:
            found.wall_s[name].append(wall[name])
            found.processor_s[name].append(processor[name])
    return found


def ratio(seconds: Mapping[str, Sequence[float]], of: str, to: str) -> Spread:
    """How many times as long `of` takes as `to`, round by round."""
    return Spread.of([a / b for a, b in zip(seconds[of], seconds[to], strict=True)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left, figures to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Training that halts after every epoch


class _Stopped(BaseException):
    """Raised inside training that goes no further."""


class Paced:
    """Something that trains epoch after epoch, in a thread of its own; a call lets it go on for one more.

    work: told how to halt; it does so at the end of each epoch. What torch keeps as switches of the whole
    process (TF32, cuDNN's choices) is put back while it halts, and set again as it goes on.
    """

    def __init__(self, work: Callable[[Callable[[], None]], object]) -> None:
        self._go, self._halted = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._over = self._leaves = False
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._away_s = 0.0
        self._thread.start()

    def __call__(self) -> None:
        self.go()
        self.wait()

    def go(self) -> None:
        """Let it go on for one more epoch, and do not wait: others may go on beside it."""
        if self._over:
            raise RuntimeError("it has no further epoch")
        self._outside = _switches()
        self._go.release()

    def wait(self) -> None:
        self._halted.acquire()
        _set_switches(self._outside)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End it where it halts."""
        self._leaves = True
        self._go.release()
        self._thread.join()

    def clock(self) -> float:
        """Seconds, in which the time of a halt does not count."""
        return time.monotonic() - self._away_s

    def _run(self, work: Callable[[Callable[[], None]], object]) -> None:
        require_torch().set_num_threads(1)  # each thread has a number of its own
        self._go.acquire()
        try:
            if not self._leaves:
                work(self._halt)
        except _Stopped:
            pass
        except BaseException as error:  # raised again where it is waited for
            self._error = error
        finally:
            self._over = True
            self._halted.release()

    def _halt(self) -> None:
        inside, began = _switches(), time.monotonic()
        self._halted.release()
        self._go.acquire()
        self._away_s += time.monotonic() - began
        if self._leaves:
            raise _Stopped
        _set_switches(inside)


def _switches() -> tuple[bool, ...]:
    torch = require_torch()
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32


def _set_switches(switches: tuple[bool, ...]) -> None:
    torch = require_torch()
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = switches


_halts = threading.local()  # of the trial that runs in this thread: how it halts, and its clock


def our_trial(settings: Settings, folder: Path, device: str, cache: Path) -> Paced:
    """`run_trial` itself, with curves, log, progress file and checkpoints, halting after each epoch's log."""
    import ablate.trial.files
    import ablate.trial.resuming
    from ablate.train import CurveFiles, TimedSaver
    from ablate.variants import TRAINING_CODE

    class Curves(CurveFiles):
        def epoch(self, *of_epoch: Any) -> None:
            super().epoch(*of_epoch)
            _halts.halt()

    def saver(*given: Any, **options: Any) -> TimedSaver:
        return TimedSaver(*given, **options, clock=_halts.clock)

    ablate.trial.files.CurveFiles, ablate.trial.resuming.TimedSaver = Curves, saver

    def work(halt: Callable[[], None]) -> None:
        _halts.halt, _halts.clock = halt, paced.clock
        ablate.trial.run_trial(
            settings,
            0,
            folder=folder,
            trial_id="0" * 16,
            variant_id="0" * 12,
            identity={"training_code": TRAINING_CODE},
            device=device,
            environment=describe(device, threads=1),
            cache=cache,
            checkpoints=folder,
        )

    paced = Paced(work)
    return paced


def s1(train_images: int, epochs: int = 100_000, **changes: Any) -> Settings:
    """System S1 on `train_images` made-up images and a ninth of that to validate. changes: sections."""
    plain = {section: {**values, **changes.get(section, {})} for section, values in S1.items()}
    plain["data"] |= {"source": "side_by_side:made_up_images", "root": str(train_images * 10 // 9)}
    plain["train"] |= {"epochs": epochs}
    return Settings.model_validate(plain)


def made_up_images(root: str) -> tuple[np.ndarray, ...]:
    """As many training images as `root` says at its end, and a fifth as many to test: uint8 [N, 32, 32, 3],
    ten classes.

    Noise, with a patch whose place and hue tell the class: what is learned does not matter here, only that it
    can be.
    """
    count = int(Path(root).name)  # the loader makes a path of it
    rng = np.random.default_rng(0)
    drawn = []
    for number in (count, max(10, count // 5)):
        labels = np.arange(number) % 10
        images = rng.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
        for label in range(10):
            row, column = divmod(label, 5)
            images[labels == label, 8 + 8 * row : 14 + 8 * row, 6 * column : 6 * column + 6, label % 3] = 255
        drawn += [images, labels]
    return tuple(drawn)


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ablate-bench-", ignore_cleanup_errors=True)
