"""How squeue and sacct are read: lines that Slurm 22.05 printed, from commands that stand in for its own."""

from __future__ import annotations

import os
import stat

import pytest

from ablate.errors import MachineError
from ablate.execute.on_slurm.queue import GONE, NOT_SHARED, SlurmQueue, State


def columns(line: str) -> str:
    widths = (24, 24, 24, 24, 12, 64, 64)
    return "".join(f"{field:<{width}}" for field, width in zip(line.split("|"), widths, strict=True))


SQUEUE = "".join(
    columns(line) + "\n"
    for line in (
        "1|2|4|FAILED|768||NonZeroExitCode",
        "1|0|2|RUNNING|0|node7|None",
        "12|N/A|12|COMPLETED|0|node7|None",
        "5|N/A|5|FAILED|4021|node8|JobLaunchFailure",
        "6|N/A|6|FAILED|22016|node8|NonZeroExitCode",
        "7|N/A|7|OUT_OF_MEMORY|9|node8|OutOfMemory",
        "9|3|9|PENDING|0||ReqNodeNotAvail, UnavailableNodes:node7",
    )
)
SACCT = """\
20_0|COMPLETED|0:0|node7
20_1|CANCELLED by 1000|0:15|node7
20_2|NODE_FAIL|1:0|node8
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """(name, text, exit code, standard error): a command that prints this."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name: str, text: str = "", code: int = 0, error: str = "") -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\necho \"$0 $*\" >> {tmp_path}/calls\ncat <<'END'\n{text}END\n")
        path.write_text(path.read_text() + f"echo '{error}' >&2\nexit {code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    for name in ("sbatch", "srun", "scancel"):
        write(name)
    return write


def test_jobs_and_tasks_of_arrays_are_told_apart_and_their_ends_read(commands):
    commands("squeue", SQUEUE)
    asked = ["1_0", "1_2", "12", "5", "6", "7", "9_3", "99"]
    found = SlurmQueue().states(asked)
    assert found == {
        "1_0": State("RUNNING", node="node7"),
        "1_2": State("FAILED", exit_code=3),
        "12": State("COMPLETED", node="node7"),
        "5": State("FAILED", signal=53, node="node8"),
        "6": State("FAILED", exit_code=NOT_SHARED, node="node8"),
        "7": State("OUT_OF_MEMORY", signal=9, node="node8"),
        "9_3": State("PENDING", reason="ReqNodeNotAvail, UnavailableNodes:node7"),
        "99": GONE,
    }
    assert [job for job in asked if not found[job].over] == ["1_0", "9_3"]
    assert [job for job in asked if found[job].saw_no_folder] == ["5", "6"]
    assert str(found["1_2"]) == "FAILED, exit code 3"


def test_what_squeue_has_forgotten_sacct_is_asked_for(commands, tmp_path):
    commands("squeue", "", 1, "slurm_load_jobs error: Invalid job id specified")
    commands("sacct", SACCT)
    found = SlurmQueue().states(["20_0", "20_1", "20_2", "20_3"])
    assert [found[job].name for job in ("20_0", "20_1", "20_2")] == ["COMPLETED", "CANCELLED", "NODE_FAIL"]
    assert found["20_1"].signal == 15
    assert found["20_3"] is GONE
    assert "--jobs=20 " in (tmp_path / "calls").read_text()


def test_a_controller_that_does_not_answer_says_nothing_of_any_job(commands):
    commands("squeue", "", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert SlurmQueue().states(["1"]) is None


def test_without_slurm_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        SlurmQueue()
    assert str(caught.value) == (
        "--executor slurm needs sbatch, srun, squeue and scancel of Slurm, which are not here\n"
        "    start the run on a login node of the cluster, or use --executor local"
    )


def test_a_run_that_is_a_job_itself_hands_nothing_of_it_on(monkeypatch):
    from ablate.execute.on_slurm.queue import _outside_of_any_job

    mine = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "100", "SRUN_DEBUG": "3"}
    for name, value in {**mine, "SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "lab"}.items():
        monkeypatch.setenv(name, value)
    with _outside_of_any_job():
        assert not mine.keys() & os.environ.keys()
        assert (os.environ["SLURM_CONF"], os.environ["SBATCH_ACCOUNT"]) == ("/etc/slurm.conf", "lab")
    assert mine.items() <= os.environ.items()


def test_whose_jobs_they_are_the_queue_says_and_not_the_folder(commands, tmp_path):
    mine = f"{'7':<24}{tmp_path}/with a space/abc/%A_%a_0_log.out"
    other = f"{'8':<24}{tmp_path}/with a space/abcd/%A_%a_0_log.out"
    lines = "7|0|7|RUNNING|0|node7|", "7|1|9|COMPLETED|0|node7|", "8|0|8|RUNNING|0|node7|"
    told = " ".join(f"'{columns(line)}'" for line in lines)
    (tmp_path / "bin" / "squeue").write_text(
        '#!/bin/sh\ncase "$*" in *STDOUT*) '
        f"printf '%s\\n' '{mine}' '{other}' ;; *) printf '%s\\n' {told} ;; esac\n"
    )
    (tmp_path / "bin" / "squeue").chmod(0o755)
    folder = tmp_path / "with a space" / "abc"
    assert SlurmQueue().sent_from(folder, ["7_0", "7_1", "8_0", "9_0"]) == {"7_0"}
