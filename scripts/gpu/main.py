"""What `scripts/gpu.sh` does, phase by phase; what to say on its command line stands there.

Nothing but the standard library is imported here: the machine may lack the rest until its wheels are
installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jobs import JOBS, Job
from pack import join_parts
from session import STOP_S, TIMED_OUT, Session, State, Stopped, say

PHASES = ("tests", "estimate", "benchmarks", "studies")
DATA = Path("data/gpu/cifar10")
ROOT = Path("results/gpu")
SITE = Path("data/gpu/site")
TEST_FOLDERS = ("tests/bench", "tests/measure", "tests/data", "tests/train")
BENCHMARKS = ("step", "script", "seeds", "study", "overhead")
# Seconds that a phase may take, so that one which gets stuck leaves time for the others; and to pack.
TESTS_S, BENCHMARK_S, ESTIMATE_S, PACK_S = 180.0, 120.0, 150.0, 15.0
SLOWER = 10  # a CPU, on which the script is tried
QUARTER = 12_500  # images in a training pack


# What the machine lacks


def install(folder: Path) -> None:
    """The wheels, into a folder of their own; once for each set of them."""
    wheels = sorted((folder / "wheels").glob("*.whl"))
    names, marker = "\n".join(wheel.name for wheel in wheels), SITE / ".installed"
    if wheels and not (marker.is_file() and marker.read_text(encoding="utf-8") == names):
        say(f"== installing {len(wheels)} wheels")
        shutil.rmtree(SITE, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run(
            [*pip, "--no-cache-dir", "--upgrade", "--target", str(SITE), *map(str, wheels)], check=True
        )
        marker.write_text(names, encoding="utf-8")
    known = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), str(SITE.absolute()), *known])


def unpack(folder: Path) -> int:
    """The packed images of the folder, as far as they are not unpacked yet; the number of training packs."""
    DATA.mkdir(parents=True, exist_ok=True)
    marker = DATA.parent / "packs.json"
    done = set(json.loads(marker.read_text(encoding="utf-8"))) if marker.is_file() else set()
    for file in sorted(folder.glob("cifar10-*.npz")):
        if file.name in done:
            continue
        say(f"== unpacking {file.name}")
        subprocess.run([sys.executable, str(folder / "unpack_cifar10.py"), str(DATA), str(file)], check=True)
        done.add(file.name)
        marker.write_text(json.dumps(sorted(done)), encoding="utf-8")
    training = sum(name.startswith("cifar10-train-") for name in done)
    if not training or "cifar10-test.npz" not in done:
        had = ", ".join(sorted(done)) or "nothing"
        sys.exit(
            f"{folder}: cifar10-test.npz and at least one cifar10-train-N.npz are needed; there is: {had}"
        )
    return training


# The phases


def allowed(session: Session, seconds: float) -> float:
    return seconds if session.device.startswith("cuda") else SLOWER * seconds


def run_tests(session: Session, state: State) -> None:
    if state.done.get("tests") is not None:
        return
    if subprocess.run([sys.executable, "-c", "import pytest"], capture_output=True).returncode:
        say("== tests: pytest is not installed here, so none was run")
        return
    has_timeout = not subprocess.run(
        [sys.executable, "-c", "import pytest_timeout"], capture_output=True
    ).returncode
    # The project's own options refuse a machine that lacks a plugin; here a test is worth more than that.
    loose = [] if has_timeout else ["-o", "addopts=-ra", "-W", "ignore::pytest.PytestConfigWarning"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *loose]
    command += ["--continue-on-collection-errors", *TEST_FOLDERS, "-k", "cuda or gpu"]
    code = session.run(
        "tests that need a GPU", command, allowed(session, TESTS_S), ROOT / "gpu" / "tests.txt"
    )
    state.note("tests", code)
    if code not in (0, 5):
        session.failed = True
        say(f"   the tests ended with {code}; the rest goes on")


def run_benchmarks(session: Session, state: State) -> None:
    for name in BENCHMARKS:
        if f"benchmark {name}" in state.done:
            continue
        options = [] if name == "overhead" else ["--device", session.device]
        options += ["--quick"] if session.small else [] if name == "overhead" else ["--rounds", "3"]
        log = ROOT / "gpu" / "benchmarks" / f"{name}.md"
        code = session.run(
            f"benchmark {name}",
            [sys.executable, f"benchmarks/{name}.py", *options],
            allowed(session, BENCHMARK_S),
            log,
        )
        if session.left_s <= 0 and code == TIMED_OUT:
            raise Stopped("the time is over")  # it did not have all of its time: another call tries again
        state.note(f"benchmark {name}", code)
        if code:
            why = ": it took too long" if code == TIMED_OUT else ""
            say(f"   it ended with {code}{why}; the rest goes on")


def settings_of(job: Job, session: Session) -> list[str]:
    """The overrides of a job here: the images that are at hand, and what they make of its scope."""
    found = [f"name={job.name}", *job.settings]
    if "costs" not in job.name:
        found += ["data.source=image-folder", f"data.root={DATA}"]
    scope = ""
    if session.packs < 4 and "costs" not in job.name:
        scope = (
            f"On {session.packs} of the four quarters of CIFAR-10's training images, "
            f"{QUARTER * session.packs:,} of 50,000: as many as were at hand."
        )
    if session.small:
        scope = "A trial of the script that runs it, at a scale at which no figure means anything."
        found += job.small
    return [*found, *([f"scope={json.dumps(scope)}"] if scope else [])]


def only_of(job: Job, session: Session) -> tuple[str, ...]:
    return job.small_only if session.small else job.only


def estimate(session: Session, state: State, jobs: Sequence[Job]) -> None:
    """Says of each study how long it will take, from two measured steps, which later calls remember."""
    keys = [f"estimate {session.packs} {job.title}" for job in jobs]
    unknown = {key: job for key, job in zip(keys, jobs, strict=True) if key not in state.done}
    if unknown:
        session.must_go_on()
        say("== measuring steps for the estimate")
        for key, found in _measured(session, unknown).items():
            state.note(key, found)
    total_s, lines, without = 0.0, [], 0
    for key, job in zip(keys, jobs, strict=True):
        found = state.done[key]
        if not isinstance(found, dict):
            lines.append(f"   {job.title}: {found}")
            without += 1
            continue
        seconds = found["trials"] * found["trial_s"] / job.jobs
        total_s += seconds
        workers = f"with {job.jobs} workers" if job.jobs > 1 else "with one worker"
        lines.append(
            f"   {job.title}: {found['trials']} trials of {found['trial_s']:.1f} s, {workers} "
            f"{seconds / 60:.1f} minutes"
        )
    gap = f", without {without} of which nothing is known" if without else ""
    said = f"   about {total_s / 60:.1f} minutes in all{gap}, if workers share the device without loss"
    text = "\n".join(["== estimate of the studies, as they stood at first", *lines, said])
    say(text)
    (ROOT / "gpu" / "estimate.txt").write_text(text + "\n", encoding="utf-8")


def _measured(session: Session, jobs: Mapping[str, Job]) -> dict[str, object]:
    """By key: trials and seconds, or why there is no estimate. One process for all loads torch once."""
    asked = [
        {
            "key": key,
            "study": f"studies/{job.study}.yaml",
            "only": only_of(job, session),
            "settings": settings_of(job, session),
        }
        for key, job in jobs.items()
    ]
    limit_s = min(allowed(session, ESTIMATE_S), session.left_s)
    command = [sys.executable, "scripts/gpu/estimate.py", str(ROOT), session.device]
    log, answers = ROOT / "gpu" / "estimate.log", ROOT / "gpu" / "estimate.json"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as errors,
        answers.open("w", encoding="utf-8") as lines,
        contextlib.suppress(subprocess.TimeoutExpired),
    ):
        subprocess.run(
            command, input=json.dumps(asked), text=True, stdout=lines, stderr=errors, timeout=limit_s
        )
    found: dict[str, object] = dict.fromkeys(jobs, f"no estimate within {limit_s:.0f} s")
    for line in answers.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the last one may be torn
            said = json.loads(line)
            found[said.pop("key")] = f"no estimate: {said['error']}" if "error" in said else said
    return found


def _globs(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in ("--only", name)]


def run_studies(session: Session, jobs: Sequence[Job]) -> None:
    for place, job in enumerate(jobs):
        command = [sys.executable, "-m", "ablate", "run", f"studies/{job.study}.yaml", "-o", str(ROOT)]
        command += ["--device", session.device, "-j", str(1 if session.small else job.jobs)]
        log = ROOT / "gpu" / "runs" / f"{place + 1:02d}-{job.name}.txt"
        code = session.run(
            f"study {job.title}",
            [*command, *_globs(only_of(job, session)), *settings_of(job, session)],
            float("inf"),
            log,
        )
        if session.left_s <= 0:
            raise Stopped("the time is over")
        if code:
            session.failed = True
            say(f"   it ended with {code}; the rest goes on")
        session.keep()


@contextlib.contextmanager
def signals_stop() -> Iterator[None]:
    names = [name for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]

    def stop(number: int, _: object) -> None:
        for name in names:  # once is enough: what is left to do is to pack
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    for name in names:
        signal.signal(getattr(signal, name), stop)
    yield


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/gpu.sh", description="See the head of scripts/gpu.sh.")
    parser.add_argument("--from", dest="folder", type=Path, default=Path(".gpu"))
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ["OUT"]) if os.environ.get("OUT") else None
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="", help="studies, by name")
    parser.add_argument("--skip", default="", help=", ".join(PHASES))
    found = parser.parse_args()
    found.only, found.skip = ([word for word in said.split(",") if word] for said in (found.only, found.skip))
    unknown = sorted({*found.only} - {job.name for job in JOBS})
    if unknown:
        known = ", ".join(dict.fromkeys(job.name for job in JOBS))
        parser.error(f"--only: no study {', '.join(unknown)}; there is: {known}")
    if wrong := sorted({*found.skip} - {*PHASES}):
        parser.error(f"--skip: no phase {', '.join(wrong)}; there is: {', '.join(PHASES)}")
    return found


def main() -> int:
    started = time.monotonic()
    asked = arguments()
    os.environ.setdefault("ABLATE_CACHE", str(Path("data/gpu/cache").absolute()))
    os.environ.setdefault("ABLATE_MACHINE", "lent" if asked.device.startswith("cuda") else "tried")
    if not ROOT.is_dir() and (asked.folder / "back").is_dir():
        say(f"== going on from {asked.folder / 'back'}")
        join_parts(asked.folder / "back", ROOT)
    install(asked.folder)
    packs = unpack(asked.folder)
    budget_s = 60 * asked.minutes - STOP_S - PACK_S
    session = Session(asked.device, asked.small, packs, started + max(budget_s, 1.0), ROOT, asked.out)
    state = State(ROOT / "gpu" / "state.json")
    jobs = [job for job in JOBS if not asked.only or job.name in asked.only]
    whole = False
    with signals_stop():
        try:
            if "tests" not in asked.skip:
                run_tests(session, state)
            if "estimate" not in asked.skip:
                estimate(session, state, jobs)
            if "benchmarks" not in asked.skip:
                run_benchmarks(session, state)
            if "studies" not in asked.skip:
                run_studies(session, jobs)
            whole = True
        except Stopped as reason:
            say(f"== {reason}; the same command goes on from here")
        finally:
            session.keep()
    ending = "everything asked for is done" if whole else "not done yet"
    say(f"== {ending}; {time.monotonic() - started:.0f} s")
    return int(session.failed) if whole else 75  # EX_TEMPFAIL: call again


if __name__ == "__main__":
    sys.exit(main())
