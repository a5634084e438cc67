"""The page, the JSON, and the page that renews itself."""

from __future__ import annotations

import io
import json
import os
import platform

import pytest
from rich.console import Console

from ablate.status import render_status, status_json, watch_status


def test_the_page(store, tree):
    tree.write("a", 0)
    tree.write("b", 0, failed=True)
    with store.take_trial(tree.id("b", 1)) as lock:
        tree.report_progress("b", 1, pid=os.getpid(), host=platform.node())
        page = render_status(store, "msa")
    assert page.splitlines() == [
        "msa: 1 done, 1 running, 1 failed, 1 pending of 4 trials; about 2 s left",
        f"  running  b seed 1: epoch 2/4, step 5/10, loss 0.500 ({lock.holder})",
        f"  failed   b seed 0: crashed: died of SIGSEGV ({tree.id('b', 0)})",
        f"  `ablate logs {tree.id('b', 0)}` shows the log and the traceback",
        "",
        "  a  1 done, 1 pending",
        "  b  1 running, 1 failed",
    ]
    assert str(os.getpid()) in page
    assert platform.node() in page


def test_the_json(store, tree):
    tree.write("a", 0)
    tree.write("b", 0, failed=True)
    tree.report_progress("b", 1, pid=os.getpid(), host=platform.node())
    said = json.loads(json.dumps(status_json(store, "msa"), allow_nan=False))
    assert [said[key] for key in ("study", "total", "done", "running", "failed", "pending")] == [
        "msa",
        4,
        1,
        1,
        1,
        1,
    ]
    done, failed, pending, running = said["trials"]
    assert (done["variant"], done["seed"], done["id"]) == ("a", 0, tree.id("a", 0))
    assert (done["state"], done["accuracy"]) == ("done", 85.3)
    assert failed["failure"] == {"kind": "crashed", "message": "died of SIGSEGV\nmore"}
    assert (pending["state"], pending["progress"]) == ("pending", None)
    assert (running["host"], running["pid"]) == (platform.node(), os.getpid())
    assert running["progress"] == {
        "epoch": 2,
        "epochs": 4,
        "step": 5,
        "steps": 10,
        "loss": 0.5,
        "accuracy": None,
        "images_per_s": None,
    }


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_ends_with_the_last_trial(store, tree, terminal):
    """A trial ends at each look, the third look finds nothing new."""
    steps = [("a", 0), ("a", 1), None, ("b", 0), ("b", 1)]
    out = io.StringIO()

    def sleep(_: float) -> None:
        step = steps.pop(0)
        if step is not None:
            tree.write(*step)

    console = Console(file=out, force_terminal=terminal, width=100)
    watch_status(store, "msa", console=console, sleep=sleep)
    assert steps == []
    said = out.getvalue()
    if not terminal:
        assert said.splitlines() == [
            f"msa: {done} done, 0 running, 0 failed, {4 - done} pending of 4 trials" for done in range(5)
        ]
    assert "msa: 4 done" in said
