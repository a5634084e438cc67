"""Failures in words: of exceptions, and of processes."""

from __future__ import annotations

import ctypes
import errno
import sys

import pytest

from ablate.execute.describe import (
    describe_error,
    describe_exit,
    memory_kills,
    where_in_dump,
    where_in_stack,
)


def caught(function):
    with pytest.raises(Exception) as raised:
        function(None)
    return describe_error(raised.value)


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("fault_in_a_library", 'return json.loads("{")'),
        ("fault_in_ablate", 'return load_study("no/such/file.yaml")'),
        # What was raised came from generated text; what it was raised from knows a file.
        ("raised_from_another", "exec(compile("),
    ],
)
def test_the_users_own_last_line_is_named(jobs, function, line, tmp_path, monkeypatch):
    """Not the library's, nor ablate's, in which the exception was raised."""
    source = (tmp_path / "importable" / "planted_jobs.py").read_text().splitlines()
    number = next(index for index, text in enumerate(source, start=1) if line in text)
    monkeypatch.chdir(tmp_path)
    assert caught(getattr(jobs, function)).where == f"importable/planted_jobs.py:{number} in {function}"


DUMP = """\
Fatal Python error: Segmentation fault

Thread 0x00007f678d0546c0 (most recent call first):
  File "/home/me/watch.py", line 3 in wait

Current thread 0x00007f685d7c9b80 (most recent call first):
  File "{library}", line 519 in string_at
  File "/home/me/net.py", line 19 in break_down
  File "/home/me/net.py", line 12 in <lambda>

Extension modules: numpy (total: 1)
"""


def test_the_line_at_which_a_dump_was_left_is_that_of_the_thread_at_work():
    text = DUMP.format(library=ctypes.__file__)
    assert where_in_dump(text) == "/home/me/net.py:19 in break_down"
    later = text.replace("19 in break_down", "7 in later").replace("Current thread", "Stack")
    assert where_in_dump(f"{text}another attempt\n{later}") == "/home/me/net.py:7 in later"
    assert where_in_dump('no dump\n  File "/home/me/net.py", line 1 in f\n') == ""
    assert where_in_dump(text.replace("/home/me/net.py", ctypes.__file__)) == ""


def test_the_frames_below_a_place_are_no_part_of_what_goes_on():
    here = sys._getframe()

    def inner():
        return where_in_stack(sys._getframe(), here), where_in_stack(here, here)

    found, nothing = inner()
    assert found.endswith(" in inner")
    assert nothing == ""


def test_no_line_of_the_users_is_no_line():
    assert describe_error(ValueError("never raised")).where == ""


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("CUDA out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_by_what_the_allocators_say(error, memory):
    assert (describe_error(error).kind == "out-of-memory") is memory


def test_torch_still_says_so_when_the_cpu_has_too_little():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert describe_error(raised.value).kind == "out-of-memory"


@pytest.mark.parametrize(
    ("exit_code", "counted", "kind", "words"),
    [
        (None, None, "crashed", "closed its connection"),
        (0, None, "crashed", "ended by itself with exit code 0"),
        (-11, None, "crashed", "died of SIGSEGV"),
        (-11, True, "crashed", "died of SIGSEGV"),
        (-9, True, "out-of-memory", "was killed by the kernel (SIGKILL) because memory had run out"),
        (-9, False, "crashed", "was killed (SIGKILL) by another process; the kernel counts no kill"),
        (-9, None, "out-of-memory", "was killed (SIGKILL), as the"),
        (-200, None, "crashed", "died of signal 200"),
    ],
)
def test_how_a_process_ended(exit_code, counted, kind, words):
    found = describe_exit(exit_code, counted)
    assert (found[0], found[1].startswith(words)) == (kind, True)


def test_the_kernels_own_count(tmp_path, monkeypatch):
    file = tmp_path / "vmstat"
    monkeypatch.setattr("ablate.execute.describe._VMSTAT", file)
    assert memory_kills() is None
    file.write_text("nr_free_pages 12\noom_kill 7\n")
    assert memory_kills() == 7
    file.write_text("nr_free_pages 12\n")
    assert memory_kills() is None
