"""Ranks that raise, die, hang or are no longer wanted: one failure, in the words of the one at fault."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from ablate.trial.launch import RankFailed, in_ranks


def one_raises(folder, ranks, device):
    """Rank 1 fails where rank 0 waits for it."""
    note(folder, ranks)
    if ranks.rank == 1:
        raise KeyError("of rank one")
    ranks.sum(torch.zeros(1))


def one_dies(number, ranks, device):
    if ranks.rank == 1:
        os.kill(os.getpid(), number)
    ranks.sum(torch.zeros(1))


def one_leaves(_, ranks, device):
    if ranks.rank == 1:
        os._exit(7)
    ranks.sum(torch.zeros(1))


def one_hangs(_, ranks, device):
    if ranks.rank == 1:
        time.sleep(1000)
    ranks.sum(torch.zeros(1))


def disk_is_full(path, ranks, device):
    if ranks.rank == 0:
        raise OSError(28, "No space left on device", path)
    ranks.sum(torch.zeros(1))


def sleep(folder, ranks, device):
    note(folder, ranks)
    time.sleep(1000)


def note(folder, ranks):
    (folder / f"{ranks.rank}").write_text(str(os.getpid()))


def noted(folder):
    return [int(path.read_text() or 0) for path in Path(folder).iterdir()]


def failure_of(function, item, **how):
    with pytest.raises(RankFailed) as caught:
        in_ranks(function, item, 2, "cpu", **how)
    return caught.value


def test_the_rank_that_raised_is_heard_and_nobody_is_left(tmp_path):
    caught = failure_of(one_raises, tmp_path)
    assert (caught.failure.kind, caught.failure.error) == ("exception", "KeyError")
    assert caught.failure.message == "rank 1 of 2: 'of rank one'"
    assert caught.failure.where.endswith("in one_raises")
    assert 'raise KeyError("of rank one")' in caught.failure.traceback
    assert "ChildFailedError" not in caught.failure.traceback
    assert len(noted(tmp_path)) == 2
    assert not any(psutil.pid_exists(pid) for pid in noted(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "item", "said"),
    [
        (one_dies, signal.SIGKILL, "the process of rank 1 of 2 was killed"),
        (one_dies, signal.SIGSEGV, "the process of rank 1 of 2 died of SIGSEGV"),
        (one_leaves, None, "the process of rank 1 of 2 ended by itself with exit code 7"),
    ],
)
def test_a_rank_that_dies_is_named_and_not_the_one_that_lost_it(function, item, said):
    assert failure_of(function, item).failure.message.startswith(said)


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_patience_of_the_others():
    found = failure_of(one_hangs, None, patience_s=4).failure
    assert found.message.startswith("rank 0 of 2 lost contact with the others: ")
    assert found.where.endswith("in one_hangs")


@pytest.mark.slow
def test_what_the_system_refused_to_a_rank_is_passed_on(tmp_path):
    error = failure_of(disk_is_full, str(tmp_path)).os_error
    assert (error.errno, error.filename) == (28, str(tmp_path))


@pytest.mark.slow
def test_ranks_that_are_no_longer_wanted_are_killed(tmp_path):
    class Unwanted(Exception):
        pass

    def look():
        if len(noted(tmp_path)) == 2:
            raise Unwanted

    with pytest.raises(Unwanted):
        in_ranks(sleep, tmp_path, 2, "cpu", look=look)
    assert not any(psutil.pid_exists(pid) for pid in noted(tmp_path))
