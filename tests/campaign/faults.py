"""The faults, in phases: each starts `ablate run`, disturbs it, and says what it injected and what followed.

A phase draws all that it can choose from its generator before it starts a process, so a seed plans the same
faults each time; when exactly they strike is up to the machine.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from check import Kept, half_written
from study import Folder, Run

PLAIN = ("--retry-failed",)
MOMENT_S = 0.05
CODES = {0: "all done", 1: "some failed", 2: "refused", 130: "interrupted"}
# What a person reads in a refusal, and does: files with what is wrong with them, and one way out for those
# above it.
_FAULT = re.compile(r"(?:error: |stopped: )?\s*(\S+?)(?::\d+)? (?:is|was) ")
_REMOVE = re.compile(r"(\S+/trials/[0-9a-f]+)/\S+ is not the file that record.json")
_MOVE_AWAY = re.compile(r" +nothing was overwritten; move (?:the file|each of these files) away")


@dataclass
class Tree:
    """One tree on its way through the campaign. injected: (kind, what followed)."""

    folder: Folder
    rng: random.Random
    full_disk: Path | None  # the mount of the small disk that it lies on
    time_limit_s: float  # that no undisturbed trial needs
    injected: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    phase: str = ""

    def add(self, kind: str, outcome: str) -> None:
        self.injected.append((kind, outcome))

    def wrong(self, sentence: str) -> None:
        self.violations.append(f"{self.phase}: {sentence}")

    def work(self) -> tuple[str, ...]:
        """Make sure that there is something to train: options of the run that trains it.

        Finished trials are removed as a user would, or trained again beside what is there.
        """
        done = sorted(self.folder.done())
        if len(done) <= 3:
            return PLAIN
        if self.rng.random() < 0.4:
            return (*PLAIN, "--force", self.rng.choice(["*", "b*", "[fs]*"]))
        for name in self.rng.sample(done, len(done) - 2):
            shutil.rmtree(self.folder.results / "trials" / name)
        return PLAIN

    def check(self, kept: Kept, *runs: Run) -> None:
        """What must hold after every fault."""
        self.check_processes(*runs)
        for sentence in (*half_written(self.folder), *kept.losses()):
            self.wrong(f"{sentence} (after {', '.join(run.log.name for run in runs)})")

    def check_processes(self, *runs: Run) -> None:
        for run in runs:
            for process in run.orphans():
                self.wrong(f"process {process.pid} outlived its run by 10 s: {run.log}")
            run.kill_all()
            if "Traceback (most recent call last)" in run.output:
                self.wrong(f"a traceback instead of a sentence: {run.log}")


def forced(options: tuple[str, ...]) -> bool:
    return "--force" in options


def said(code: int) -> str:
    return CODES.get(code, f"died of {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")


def wait_until(run: Run, condition: Callable[[], object], patience_s: float = 60.0) -> bool:
    until = time.monotonic() + patience_s
    while run.alive and time.monotonic() < until:
        if condition():
            return True
        time.sleep(MOMENT_S)
    return False


def expect(tree: Tree, run: Run, *codes: int) -> None:
    code = run.process.returncode
    if code not in codes:
        tree.wrong(f"{said(code)}, not {' or '.join(map(said, codes))}: {run.log}")


# From within a trial

OWN = ("raise", "shape", "nan", "memory", "kernel", "segfault", "abort", "exit", "vanish", "kill")
LONG = ("hang", "stop")
OWN_NAMES = {
    "raise": "exception in a trial",
    "shape": "exception in a trial",
    "nan": "loss that is not finite",
    "memory": "out of memory, address space limited",
    "kernel": "out of memory, killed by the kernel in a control group",
    "segfault": "segmentation fault in a trial",
    "abort": "abort in a trial",
    "exit": "a trial that calls exit",
    "vanish": "a trial that calls exit",
    "kill": "kill -9 of a worker",
    "hang": "a trial that hangs, under --timeout",
    "stop": "a trial that is stopped (SIGSTOP), under --timeout",
}


def own_faults(tree: Tree, count: int) -> None:
    """The study's own module misbehaves for its first few steps that are told to."""
    possible = [kind for kind in OWN if kind != "kernel" or tree.folder.group is not None]
    kinds = [tree.rng.choice(possible) for _ in range(count)]
    if tree.rng.random() < 0.5:
        kinds[0] = tree.rng.choice(LONG)
    options = tree.work()
    limit = ("--timeout", f"{tree.time_limit_s:.0f}") if set(kinds) & set(LONG) else ()
    tokens = tree.folder.path / "tokens"
    for number, kind in enumerate(kinds):
        (tokens / f"{number:03d}.{kind}.{tree.rng.randint(1, 60)}").touch()
    kept = Kept(tree.folder, forced(options))
    run = tree.folder.run(*options, *limit)
    taken = sorted((tokens / "taken").iterdir())
    for path in taken:
        tree.add(OWN_NAMES[path.name.split(".")[1]], f"the run ended: {said(run.process.returncode)}")
    for path in (*taken, *tokens.glob("*.*.*")):
        path.unlink()
    expect(tree, run, 0, 1)
    tree.check(kept, run)


# From outside


def kill_workers(tree: Tree, count: int) -> None:
    """One worker after the other, amid a trial or between two."""
    plan = [
        (tree.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]), tree.rng.random())
        for _ in range(count)
    ]
    options = tree.work()
    kept = Kept(tree.folder, forced(options))
    run = tree.folder.start(*options)
    struck = []
    for number, moment in plan:
        if not wait_until(run, tree.folder.busy):
            break
        time.sleep(moment)
        busy = [p for p in run.family() if p.pid in tree.folder.busy()]
        if busy and run.alive:
            tree.rng.choice(busy).send_signal(number)
            struck.append(number)
            time.sleep(0.2)
    code = run.wait()
    for number in struck:
        what = "kill -9" if number == signal.SIGKILL else number.name
        tree.add(f"{what} of a worker", f"the run ended: {said(code)}")
    expect(tree, run, 0, 1)
    tree.check(kept, run)


def _moment(tree: Tree) -> Callable[[Run], None]:
    """When to strike: early, as a trial begins, in its midst, after some have ended, amid the report."""
    which, pause = tree.rng.choice(["early", "lock", "checkpoint", "records", "report"]), tree.rng.random()
    more = tree.rng.randint(1, 3)
    folder = tree.folder

    def wait(run: Run) -> None:
        begun = len(list(folder.results.glob("trials/*/record.json")))
        conditions: dict[str, Callable[[], object]] = {
            "early": lambda: True,
            "lock": folder.busy,
            "checkpoint": lambda: list(folder.results.glob("trials/*/checkpoint-*")),
            "records": lambda: len(list(folder.results.glob("trials/*/record.json"))) >= begun + more,
            "report": lambda: "writing the report" in run.output,
        }
        wait_until(run, conditions[which], 45)
        time.sleep(5 * pause if which == "early" else pause)

    return wait


def kill_parent(tree: Tree, count: int) -> None:
    """kill -9: nobody tidies up, yet no worker may outlive it and no record may be half there."""
    for _ in range(count):
        wait = _moment(tree)
        options = tree.work()
        kept = Kept(tree.folder, forced(options))
        run = tree.folder.start(*options)
        wait(run)
        if run.signal(signal.SIGKILL):
            tree.add("kill -9 of the parent", "no process and no half record left")
        run.wait()
        tree.check(kept, run)


def interrupt(tree: Tree, count: int) -> None:
    """Ctrl-C, kill, a closed terminal; also twice and thrice."""
    for _ in range(count):
        number = tree.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        times, wait = tree.rng.choice([1, 1, 1, 2, 3]), _moment(tree)
        options = tree.work()
        kept = Kept(tree.folder, forced(options))
        run = tree.folder.start(*options)
        wait(run)
        sent = 0
        for _ in range(times):
            sent += run.signal(number)
            time.sleep(0.1)
        run.wait(60)
        code = run.process.returncode
        for _ in range(sent):
            tree.add(f"{number.name} of the parent", said(code))
        # Before the run has begun to listen, a signal means what it means to any process.
        expect(tree, run, 0, 1, 130, -number)
        tree.check(kept, run)


def fill_disk(tree: Tree, count: int) -> None:
    """The small disk runs full before the run or in its midst."""
    if tree.full_disk is None:
        return
    filler = tree.full_disk / "filler"
    for _ in range(count):
        left, early, pause = tree.rng.randrange(0, 120_000), tree.rng.random() < 0.3, tree.rng.random()
        options = tree.work()
        kept = Kept(tree.folder, forced(options))
        failed_before = {name for name, one in tree.folder.records().items() if one["status"] == "failed"}
        if early:
            _fill(filler, left)
        run = tree.folder.start(*options)
        if not early and wait_until(run, tree.folder.busy):
            time.sleep(pause)
            _fill(filler, left)
        run.wait()
        full = "full" in run.output or "No space left" in run.output or "os error 28" in run.output
        tree.add(
            "full disk", "said; the run ended" if full else f"the run ended: {said(run.process.returncode)}"
        )
        filler.unlink(missing_ok=True)
        if run.process.returncode != 0 and not full:
            tree.wrong(f"a full disk was not said: {run.log}")
        expect(tree, run, 0, 1, 2)
        tree.check(kept, run)
        for name, record in tree.folder.records().items():
            if record["status"] == "failed" and name not in failed_before:
                tree.wrong(f"a full disk became a failure of trial {name}: {record['failure']['message']}")


def _fill(filler: Path, leave: int) -> None:
    free = shutil.disk_usage(filler.parent).free
    try:
        with filler.open("wb", buffering=0) as file:
            rest = max(0, free - leave)
            while rest > 0:
                rest -= file.write(bytes(min(rest, 1 << 20)))
    except OSError:
        return  # it is full


# Files between two runs

# Of a finished trial these are read by nobody who writes a report; `ablate verify` finds them damaged.
_UNREAD = ("steps.csv", "settings.yaml")
_TORN = (
    "trials/*/record.json",
    "trials/*/checkpoint-*",
    "trials/*/checkpoint-*",
    "trials/*/progress.json",
    "trials/*/predictions.npz",
    "trials/*/epochs.csv",
    "trials/*/steps.csv",
    "trials/*/settings.yaml",
    "trials/*/log.txt",
    "costs/*/*.json",
    "campaign/plan.json",
    "campaign/report.json",
    "campaign/report.md",
    "campaign/study.yaml",
    "campaign/tables/*.csv",
    ".last",
)


def tear_files(tree: Tree, count: int) -> None:
    """Cut, emptied, flipped, zeroed as after a power cut; then the user does what the sentences say."""
    if len(tree.folder.done()) < 4:
        tree.folder.run(*PLAIN)
    _leave_one_amid(tree)
    chosen = []
    for pattern in tree.rng.sample(_TORN, len(_TORN)):
        found = [path for path in sorted(tree.folder.results.glob(pattern)) if path not in chosen]
        found = [path for path in found if path.name not in _UNREAD or not _ended(path.parent)]
        if found:
            chosen.append(tree.rng.choice(found))
        if len(chosen) == count:
            break
    for path in chosen:
        how = _tear(path, tree.rng)
        tree.add(f"torn file: {_kind(path)}", how)
    _stray_files(tree)
    _shift_times(tree)
    settle(tree, tree.folder.run(*PLAIN))


def _ended(trial: Path) -> bool:
    return (trial / "record.json").exists()


def _leave_one_amid(tree: Tree) -> None:
    """So that there are checkpoints, and perhaps a lock and progress of a process that is gone."""
    options = tree.work()
    kept = Kept(tree.folder, forced(options))
    run = tree.folder.start(*options)
    wait_until(run, lambda: list(tree.folder.results.glob("trials/*/checkpoint-*")), 45)
    if run.signal(signal.SIGKILL):
        tree.add("kill -9 of the parent", "no process and no half record left")
    run.wait()
    tree.check(kept, run)


def _tear(path: Path, rng: random.Random) -> str:
    content = path.read_bytes() or b" "
    # A flipped digit of a record is a forgery that no reader can tell; what has a checksum may be flipped.
    in_trial = path.suffix in (".npz", ".csv") and "trials" in path.parts
    checked = in_trial or path.name.startswith("checkpoint-")
    way = rng.choice(["cut", "cut", "emptied", "zeroed", *(["flipped"] * 3 if checked else [])])
    place = rng.randrange(max(1, len(content) - 2))
    if way == "cut":
        content = content[:place]
    elif way == "emptied":
        content = b""
    elif way == "zeroed":
        content = content[:place] + bytes(len(content) - place)
    else:
        content = content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    path.write_bytes(content)
    return way


def _kind(path: Path) -> str:
    return "checkpoint" if path.name.startswith("checkpoint-") else re.sub(r"^vm.*|.*-cpu", "cost", path.stem)


def _stray_files(tree: Tree) -> None:
    """What a process that was killed amid a write leaves behind."""
    folders = [path for path in sorted(tree.folder.results.glob("trials/*")) if path.is_dir()]
    if folders:
        (tree.rng.choice(folders) / ".record.json.4711-0badcafe.tmp").write_bytes(b'{"schema_ver')
        tree.add("torn file: temporary", "left by a killed process")


def _shift_times(tree: Tree) -> None:
    """As if the clock had stood elsewhere when these were written."""
    for _ in range(2):
        seconds = tree.rng.choice([-1, 1]) * 10 ** tree.rng.uniform(2, 8)
        for path in sorted(tree.folder.results.rglob("*")):
            if path.is_file() and tree.rng.random() < 0.5:
                when = max(0.0, time.time() + seconds)
                os.utime(path, (when, when))
        tree.add("files from the past or the future", "the next run went on")


def settle(tree: Tree, run: Run, attempts: int = 12) -> None:
    """Do what each refusal says and run again, until all is done."""
    moved = tree.folder.path / "moved"
    moved.mkdir(exist_ok=True)
    for _ in range(attempts):
        if run.process.returncode == 0:
            return
        before = len(list(moved.iterdir()))
        for name in dict.fromkeys(_to_move_away(run.output)):
            path = tree.folder.path / name
            if path.is_file():
                shutil.move(path, moved / f"{len(list(moved.iterdir()))}-{path.name}")
        for name in dict.fromkeys(_REMOVE.findall(run.output)):
            path = tree.folder.path / name
            if path.is_dir():
                shutil.move(path, moved / f"{len(list(moved.iterdir()))}-{path.name}")
        if run.process.returncode == 2 and len(list(moved.iterdir())) == before:
            tree.wrong(f"refused, and nothing that it says can be done: {run.log}")
        expect(tree, run, 0, 1, 2)
        run = tree.folder.run(*PLAIN)
        tree.check_processes(run)
    if run.process.returncode != 0:
        tree.wrong(f"still not done after {attempts} runs: {run.log}")


def _to_move_away(output: str) -> list[str]:
    found: list[str] = []
    above: list[str] = []
    for line in output.splitlines():
        if _MOVE_AWAY.match(line):
            found += above
        named = _FAULT.match(line)
        above = [*above, named[1]] if named else []
    return found


# Trials that are trained again, and looked into


def force_again(tree: Tree, count: int) -> None:
    """Finished trials are trained again and disturbed in it; what they were stays until they are done."""
    folder = tree.folder
    plan = [
        (tree.rng.choice(["first", "second", "b*", "*"]), tree.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        for _ in range(count)
    ]
    pauses = [tree.rng.random() * 3 for _ in plan]
    if not folder.done():
        settle(tree, folder.run(*PLAIN))
    for (name, number), pause in zip(plan, pauses, strict=True):
        kept = Kept(folder, forced=True)
        run = folder.start(*PLAIN, "--force", name)
        if wait_until(run, folder.busy):
            time.sleep(pause)
            if run.signal(number):
                what = "kill -9" if number == signal.SIGKILL else "SIGTERM"
                tree.add(f"{what} of the parent, amid trials trained again", "what was done stayed")
        run.wait()
        expect(tree, run, 0, 130, -number)
        tree.check(kept, run)
    # To its end: a result that takes the place of another has to be the same.
    before = folder.done()
    kept = Kept(folder, forced=True)
    run = folder.run(*PLAIN, "--force", plan[-1][0])
    tree.add("finished trials trained again", f"the run ended: {said(run.process.returncode)}")
    expect(tree, run, 0)
    tree.check(kept, run)
    if lost := before - folder.done():
        tree.wrong(f"trained again and not done: {', '.join(sorted(lost))}")


def verify_one(tree: Tree, count: int) -> None:
    """A run that is killed and goes on; `ablate verify` of a trial that it disturbed comes out the same."""
    folder = tree.folder
    for _ in range(count):
        wait = _moment(tree)
        chosen, number = tree.rng.random(), tree.rng.choice([signal.SIGKILL, signal.SIGTERM])
        options = tree.work()
        kept = Kept(folder, forced(options))
        begun = set(_begun(folder).items())
        run = folder.start(*options)
        wait(run)
        if run.signal(number):
            what = "kill -9" if number == signal.SIGKILL else "SIGTERM"
            tree.add(f"{what} of the parent, then `ablate verify`", "the trial came out the same")
        run.wait()
        tree.check(kept, run)
        touched = {name for name, _ in set(_begun(folder).items()) - begun}
        settle(tree, folder.run(*PLAIN))
        names = sorted(touched & folder.done()) or sorted(folder.done())
        name = names[int(chosen * len(names))]
        held = folder.record_files()
        done = folder.ablate("verify", name)
        if done.returncode != 0 or not done.stdout.startswith("identical: "):
            tree.wrong(f"`ablate verify {name}` exits {done.returncode}: {done.stdout}{done.stderr}")
        if folder.record_files() != held:
            tree.wrong(f"`ablate verify {name}` changed the results tree")


# Clocks


def jump_clock(tree: Tree, count: int) -> None:
    """The wall clock jumps by minutes to years, both ways, amid a run."""
    folder = tree.folder
    if folder.library is None or folder.clock is None:
        return
    jumps = [tree.rng.choice([-1, 1]) * 10 ** tree.rng.uniform(2, 8) for _ in range(count)]
    pauses = [tree.rng.random() for _ in jumps]
    options = tree.work()
    kept = Kept(folder, forced(options))
    folder.clock.write_bytes(struct.pack("d", 0.0))
    run = folder.start(*options, jump=True)
    wait_until(run, folder.busy)
    for seconds, pause in zip(jumps, pauses, strict=True):
        if run.alive:
            with folder.clock.open("r+b") as file:
                file.write(struct.pack("d", seconds))
            tree.add("clock that jumps amid a run", "the run went on")
            time.sleep(pause)
    run.wait()
    expect(tree, run, 0)
    tree.check(kept, run)


# Two runners


def two_runners(tree: Tree, count: int) -> None:
    """Two commands at once on one tree, alone or with a kill amid them: no trial is trained by both."""
    folder = tree.folder
    disturb, pause = tree.rng.random() < 0.6, tree.rng.random()
    number = tree.rng.choice([signal.SIGKILL, signal.SIGTERM])
    for path in (folder.results / "trials").glob("*"):
        if tree.rng.random() < 0.8 and path.is_dir():
            shutil.rmtree(path)
    kept = Kept(folder)
    begun_before = _begun(folder)
    first = folder.start(*PLAIN)
    second = folder.start(*PLAIN)
    tree.add(
        "two runners on one tree", "killed one, the other did the rest" if disturb else "each trial once"
    )
    if disturb and wait_until(first, folder.busy):
        time.sleep(pause)
        if first.signal(number):
            what = "kill -9" if number == signal.SIGKILL else "SIGTERM"
            tree.add(f"{what} of the parent", "the other runner took its trials over")
    first.wait()
    second.wait()
    expect(tree, second, 0)
    expect(tree, first, 0, *((130, -number) if disturb else ()))
    tree.check(kept, first, second)
    if not disturb:
        for name, begun in _begun(folder).items():
            if begun - begun_before.get(name, 0) > 1:
                tree.wrong(f"trial {name} was trained {begun} times by two runners")


def _begun(folder: Folder) -> dict[str, int]:
    """How often each trial was begun, by the line its log begins with."""
    logs = folder.results.glob("trials/*/log.txt")
    return {
        path.parent.name: path.read_text(errors="replace").count(f"trial {path.parent.name}: ")
        for path in logs
    }


def foreign_lock(tree: Tree, count: int) -> None:
    """Another machine holds a trial, and gives it back after a while."""
    folder = tree.folder
    ids = sorted(path.parent.name for path in folder.results.glob("trials/*/record.json"))
    if not ids:
        return
    trial_id = tree.rng.choice(ids)
    shutil.rmtree(folder.results / "trials" / trial_id)
    lock = folder.results / "trials" / f"{trial_id}.lock"
    holder = {
        "host": "elsewhere",
        "pid": 1,
        "run_pid": 1,
        "start": "1",
        "machine": "another",
        "token": "ab" * 8,
    }
    lock.write_text(json.dumps(holder))
    kept = Kept(folder)
    run = folder.start(*PLAIN)
    wait_until(run, lambda: "waiting" in run.output, 90)
    if trial_id in folder.records():
        tree.wrong(f"a trial was trained that another machine held: {run.log}")
    lock.unlink()
    run.wait()
    tree.add("lock of another machine", "waited for")
    expect(tree, run, 0)
    tree.check(kept, run)


def torn_lock(tree: Tree, count: int) -> None:
    """A lock that says nothing, as after a power cut: nobody knows whose it was, so it is watched first."""
    folder = tree.folder
    ids = sorted(path.parent.name for path in folder.results.glob("trials/*/record.json"))
    trial_id = tree.rng.choice(ids)
    shutil.rmtree(folder.results / "trials" / trial_id)
    (folder.results / "trials" / f"{trial_id}.lock").write_bytes(b'{"host": "v')
    kept = Kept(folder)
    run = folder.start(*PLAIN)
    run.wait(300)
    tree.add("torn file: lock", "watched for two minutes, then taken over")
    expect(tree, run, 0)
    tree.check(kept, run)
