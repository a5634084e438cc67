"""The fault campaign: many ways to disturb `ablate run`, and one report that has to come out of them all.

    python tests/campaign [--faults 200] [--seed 1] [--trees N] [--keep]

Every tree has a seed of its own, which is printed; `--seed S --trees 1` goes through that one again. Exit
code 1 when anything was lost, left or different.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import faults  # noqa: E402
from check import age, comparable, differences, left_over  # noqa: E402
from faults import PLAIN, Tree, settle  # noqa: E402
from study import Folder  # noqa: E402

import ablate  # noqa: E402
from ablate.errors import StoreError  # noqa: E402

DISK = "32m"
GROUP = Path(f"/sys/fs/cgroup/memory/ablate-campaign-{os.getpid()}")
Phase = tuple[Callable[[Tree, int], None], int]
# In one tree: (phase, faults it is asked for). Drawn in another order for each.
FULL = (
    (faults.own_faults, 12),
    (faults.own_faults, 12),
    (faults.kill_workers, 10),
    (faults.kill_parent, 4),
    (faults.interrupt, 3),
    (faults.fill_disk, 2),
    (faults.tear_files, 14),
    (faults.jump_clock, 12),
    (faults.two_runners, 1),
    (faults.foreign_lock, 1),
    (faults.force_again, 2),
    (faults.verify_one, 1),
)
SHORT = (
    (faults.own_faults, 4),
    (faults.kill_workers, 2),
    (faults.kill_parent, 1),
    (faults.interrupt, 1),
    (faults.fill_disk, 1),
    (faults.tear_files, 5),
    (faults.jump_clock, 3),
    (faults.two_runners, 1),
    (faults.force_again, 1),
    (faults.verify_one, 1),
)
LONG_FORM = 100  # faults; below, phases are cut to the short form and nothing waits for two minutes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200, help="go on until so many were injected")
    parser.add_argument("--seed", type=int, default=1, help="of the first tree")
    parser.add_argument("--trees", type=int, default=None, help="so many trees, however many faults that is")
    parser.add_argument("--phases", help="these alone, by name, with a comma between: to look into one")
    parser.add_argument(
        "--keep", action="store_true", help="keep the folders of trees that are as they should be"
    )
    asked = parser.parse_args()
    print(f"$ python tests/campaign {' '.join(sys.argv[1:])}\n{machine()}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unmounts before it leaves
    with tempfile.TemporaryDirectory(prefix="campaign-") as name, Tools(Path(name)) as tools:
        return campaign(asked, tools)


def campaign(asked: argparse.Namespace, tools: Tools) -> int:
    began = time.monotonic()
    for sentence in tools.missing:
        print(f"not injected: {sentence}")
    undisturbed = tools.folder("undisturbed")
    if undisturbed.run(*PLAIN, drawn=True).process.returncode != 0:
        print(undisturbed.started[0].output)
        return 1
    expected = comparable(undisturbed)
    tools.time_limit_s = max(10.0, 8 * max(one["wall_s"] for one in undisturbed.records().values()))
    print(f"undisturbed: {len(undisturbed.done())} trials, {time.monotonic() - began:.0f} s")
    injected: list[tuple[str, str]] = []
    bad = trees = 0
    stopped = False
    while len(injected) < asked.faults if asked.trees is None else trees < asked.trees:
        seed = asked.seed + trees
        try:
            tree = one_tree(seed, tools, phases(asked, seed, first=trees == 0), expected)
        except (
            KeyboardInterrupt
        ):  # what the whole trees showed is worth printing; the cut one counts for nothing
            stopped = True
            break
        injected += tree.injected
        bad += bool(tree.violations)
        trees += 1
        for sentence in tree.violations:
            print(f"  WRONG: {sentence}")
        if tree.violations or asked.keep:
            kept = Path(tempfile.mkdtemp(prefix=f"campaign-seed-{seed}-"))
            shutil.copytree(tree.folder.path, kept, dirs_exist_ok=True)
            print(f"  kept in {kept}; once more with --seed {seed} --trees 1 --faults {asked.faults}")
        tools.forget(tree.folder)
        print(f"  {len(injected)} faults after {(time.monotonic() - began) / 60:.1f} min", flush=True)
    print(table(injected))
    print(
        f"\n{len(injected)} faults in {trees} trees, {(time.monotonic() - began) / 60:.1f} minutes: "
        f"{trees - bad} trees equal the undisturbed one, {bad} do not"
    )
    if stopped:
        print("stopped before its end: fewer faults than were asked for")
    return 1 if bad or stopped else 0


def phases(asked: argparse.Namespace, seed: int, *, first: bool) -> list[Phase]:
    """In the order that the seed draws; the lock that takes two minutes once a campaign, at the end."""
    long = asked.faults >= LONG_FORM
    plan = list(FULL if long else SHORT)
    random.Random(-seed).shuffle(plan)
    if long and first:
        plan.append((faults.torn_lock, 1))
    return [one for one in plan if asked.phases is None or one[0].__name__ in asked.phases.split(",")]


def one_tree(seed: int, tools: Tools, plan: list[Phase], expected: dict) -> Tree:
    rng = random.Random(seed)
    print(f"tree with seed {seed}: {', '.join(phase.__name__ for phase, _ in plan)}", flush=True)
    folder = tools.folder(f"tree-{seed}")
    tree = Tree(folder, rng, tools.disk(folder), tools.time_limit_s)
    for phase, count in plan:
        began, before = time.monotonic(), len(tree.injected)
        tree.phase = phase.__name__
        try:
            phase(tree, count)
        except Exception as error:  # a fault of the campaign's own must not end it
            traceback.print_exc(file=sys.stdout)
            tree.wrong(str(error))
        took = time.monotonic() - began
        print(f"  {phase.__name__}: {len(tree.injected) - before} faults, {took:.0f} s", flush=True)
    finish(tree, expected)
    return tree


def finish(tree: Tree, expected: dict) -> None:
    """The same command until it exits 0, then what must hold."""
    tree.phase = "at the end"
    settle(tree, tree.folder.run(*PLAIN, drawn=True))
    for sentence in left_over(tree.folder, temporaries=True):
        tree.wrong(sentence)
    age(tree.folder, 7200.0)
    tree.folder.clean()
    try:
        found = comparable(tree.folder)
    except (OSError, ValueError, StoreError) as error:
        tree.wrong(f"the tree cannot be read: {error}")
    else:
        for sentence in (*differences(found, expected), *left_over(tree.folder)):
            tree.wrong(sentence)


class Tools:
    """What the machine gives: a small disk, a control group, a compiler. missing: what it does not."""

    def __init__(self, base: Path) -> None:
        self.base, self.missing, self.mounts = base, [], []
        self.time_limit_s = 60.0
        self.library = self._compile()
        self.group = self._make_group()
        self.can_mount = self._mount(base / "probe") is not None
        if not self.can_mount:
            self.missing.append("full disks: mounting a small one needs root")

    def folder(self, name: str) -> Folder:
        clock = self.base / f"{name}.clock"
        clock.write_bytes(bytes(8))
        folder = Folder(
            self.base / name, self.base / "cache", group=self.group, clock=clock, library=self.library
        )
        folder.prepare()
        return folder

    def disk(self, folder: Folder) -> Path | None:
        return self._mount(folder.results) if self.can_mount else None

    def forget(self, folder: Folder) -> None:
        if folder.results in self.mounts:
            self._unmount(folder.results)
        shutil.rmtree(folder.path, ignore_errors=True)

    def __enter__(self) -> Tools:
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self.mounts):
            self._unmount(path)
        if self.group is not None:
            self.group.rmdir()

    def _compile(self) -> Path | None:
        library, compiler = self.base / "jump.so", shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            self.missing.append("a clock that jumps amid a run: it takes a C compiler on Linux")
            return None
        source = str(HERE / "jump.c")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    def _make_group(self) -> Path | None:
        try:
            GROUP.mkdir(exist_ok=True)
            (GROUP / "memory.limit_in_bytes").write_text(str(2**26))
            return GROUP
        except OSError as error:
            self.missing.append(
                f"kills by the kernel for want of memory: no control group ({error.strerror})"
            )
            return None

    def _mount(self, path: Path) -> Path | None:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "campaign", str(path)]
        try:
            done = subprocess.run(command, capture_output=True)
        except OSError:
            return None
        if done.returncode != 0:
            return None
        self.mounts.append(path)
        return path

    def _unmount(self, path: Path) -> None:
        subprocess.run(["umount", "-l", str(path)], capture_output=True)
        self.mounts.remove(path)


def table(injected: list[tuple[str, str]]) -> str:
    of: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, outcome in injected:
        of[kind][outcome] += 1
    lines = ["", "| Fault | Count | What followed |", "|---|---:|---|"]
    for kind in sorted(of):
        followed = "; ".join(f"{outcome} ({count})" for outcome, count in of[kind].most_common())
        lines.append(f"| {kind} | {of[kind].total()} | {followed} |")
    return "\n".join([*lines, f"| **all** | **{len(injected)}** | |"])


def machine() -> str:
    from ablate.environment import available_cores, describe, require_torch

    torch = require_torch()
    return (
        f"{describe('cpu', threads=1).cpu}, {available_cores()} cores; {platform.platform()}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, ablate {ablate.__version__}; "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


if __name__ == "__main__":
    sys.exit(main())
