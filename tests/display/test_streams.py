"""An output that ends before the run does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.display import PlainDisplay, SteadyStream, silence


class Leaving(io.StringIO):
    """Takes so many writes, then fails."""

    def __init__(self, takes: int, error: Exception) -> None:
        super().__init__()
        self.takes, self.error = takes, error

    def write(self, text: str) -> int:
        self.takes -= 1
        if self.takes < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), OSError(5, "gone"), ValueError()])
def test_words_go_nowhere_once_nobody_takes_them(error):
    inner = Leaving(1, error)
    stream = SteadyStream(inner)
    assert [stream.write("a"), stream.write("bc"), stream.write("d")] == [1, 2, 1]
    stream.flush()
    assert (inner.getvalue(), stream.gone) == ("a", True)


def test_other_errors_are_the_callers():
    with pytest.raises(KeyboardInterrupt):
        SteadyStream(Leaving(0, KeyboardInterrupt())).write("a")


def test_all_else_is_the_streams_own(tmp_path):
    with (tmp_path / "file").open("w", encoding="ascii") as file:
        stream = SteadyStream(file)
        assert (stream.encoding, stream.isatty(), stream.fileno()) == ("ascii", False, file.fileno())


def test_a_silenced_stream_drops_what_it_still_held(tmp_path):
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    stream.write("held")
    os.close(read)
    silence(stream)
    stream.write("more")
    stream.close()


SCRIPT = """
import sys
from pathlib import Path
from ablate.display import make_display
display = make_display()
for number in range(3000):
    display.note(f"line {number} " + 40 * "x")
print("not through the display")
open(sys.argv[1], "w").write("went on")
sys.exit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="shell")
@pytest.mark.parametrize("shell", ["set -o pipefail; {0} | head -1", "{0} > /dev/full", "{0} >&-"])
def test_a_program_goes_on_without_a_reader_and_its_exit_code_tells(tmp_path, shell):
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    script, end = tmp_path / "script.py", tmp_path / "end"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["bash", "-c", shell.format(f"{sys.executable} {script} {end}")], capture_output=True, text=True
    )
    assert end.read_text() == "went on"
    assert (done.returncode, done.stderr) == (3, "")


def test_a_display_writes_through_one(monkeypatch):
    inner = Leaving(1, BrokenPipeError())
    monkeypatch.setattr(sys, "stdout", inner)
    display = PlainDisplay()
    display.note("one")
    display.note("two")
    display.end("three", "")
    assert inner.getvalue() == "one\n"
