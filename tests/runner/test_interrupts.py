"""Signals, sent for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ablate.runner.interrupts import INTERRUPTED, interruptible

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.05)  # the handler runs between two bytecodes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_an_interrupt_and_the_second_does_not_disturb_the_tidying(number):
    before, said, tidied = signal.getsignal(number), [], []
    with interruptible(said.append), pytest.raises(KeyboardInterrupt):
        try:
            send(number)
            pytest.fail("the signal was not heard")
        finally:
            send(number)
            tidied.append("whole")
    assert tidied == ["whole"]
    assert said == ["stopping: what is finished is kept; once more leaves at once"]
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SCRIPT = """
import time
from ablate.runner.interrupts import interruptible
with interruptible():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep(60)
"""


def test_the_third_leaves_at_once():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "tidying\n"
    process.send_signal(signal.SIGTERM)
    assert "once more leaves at once" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == INTERRUPTED
    assert process.stderr.read() == ""
