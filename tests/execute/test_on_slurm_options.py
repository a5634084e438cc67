"""Keys and values of Slurm jobs: what is taken, and what is said of the rest."""

from __future__ import annotations

import re

import pytest

from ablate.errors import StudyError
from ablate.execute.on_slurm.options import SBATCH, read_options


def test_options_of_sbatch_go_through_by_their_long_names():
    said = {"partition": "gpu", "gpus": "1", "cpus": "4", "--mem-per-cpu": "2G", "mail_type": "END"}
    assert dict(read_options(said).flags) == {
        "partition": "gpu",
        "gpus": "1",
        "cpus-per-task": "4",
        "mem-per-cpu": "2G",
        "mail-type": "END",
    }


def test_switches_take_no_value_or_their_own():
    found = read_options({"exclusive": "", "contiguous": "yes", "reboot": "no", "hold": "true"}).flags
    assert dict(found) == {"exclusive": True, "contiguous": True, "hold": True}
    assert dict(read_options({"exclusive": "user"}).flags) == {"exclusive": "user"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 3600),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("3-1", 3 * 86400 + 3600),
        ("1-2:03", 86400 + 2 * 3600 + 180),
        ("1-02:03:04", 86400 + 2 * 3600 + 184),
        ("UNLIMITED", None),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(text, seconds):
    assert read_options({"time": text}).time_s == seconds


def test_the_warning_before_a_short_limit_comes_in_its_last_quarter():
    assert read_options({"time": "1"}).signal_before_s == 15
    assert read_options({"time": "60"}).signal_before_s == 90
    assert read_options({"time": "1", "signal-before": "5"}).signal_before_s == 5


def test_all_faults_are_said_at_once():
    said = {
        "partion": "gpu",
        "array": "3",
        "time": "soon",
        "requeues": "-1",
        "comment": "a\nrm -r x",
        "qos": "",
    }
    with pytest.raises(StudyError) as caught:
        read_options(said)
    message = str(caught.value)
    assert message.startswith(
        "6 problems found; nothing was run\n  --slurm: partion: is no option of sbatch\n"
    )
    assert "did you mean 'partition'?" in message
    assert "--slurm: array: is set by ablate: -j says how many run at once" in message
    assert "--slurm: time: is 'soon'\n    allowed: minutes, minutes:seconds, hours:minutes:seconds" in message
    assert "--slurm: requeues: is '-1'\n    allowed: a whole number, 0 or more" in message
    assert "--slurm: comment: has the value 'a\\nrm -r x'" in message
    assert "--slurm: qos: has the value ''" in message
    allowed = re.search(r"is no option of sbatch\n    allowed: (.*)", message)[1].split(", ")
    assert {*SBATCH, "cpus", "setup", "signal-before", "requeues"} == set(allowed)
