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
        f"           way out: {tree.crash}",
        f"  `ablate logs {tree.id('b', 0)}` shows the log and the traceback",
        "",
        "  a  1 done, 1 pending",
        "  b  1 running, 1 failed",
    ]
    assert str(os.getpid()) in page
    assert platform.node() in page


def test_what_is_damaged_is_named_all_at_once_and_hides_nothing_else(store, tree):
    torn = [tree.write("a", 0), tree.write("b", 1)]
    paths = [tree.tear("a", 0), tree.tear("b", 1)]
    tree.write("a", 1)
    edited = tree.write("b", 0)
    path = store.trial(edited.id).record
    path.write_text(path.read_text().replace('"status": "done"', '"status": "finished"'))
    before = [path.read_bytes() for path in paths]
    page = render_status(store, "msa").splitlines()
    assert page[0] == "msa: 1 done, 0 running, 0 failed, 0 pending, 3 damaged of 4 trials"
    assert page[1].startswith(f"  damaged  a seed 0: {paths[0]} is torn or was edited by hand")
    assert page[2].startswith(f"  damaged  b seed 0: {path} was edited by hand or is not ours: status: ")
    assert page[3].startswith(f"  damaged  b seed 1: {paths[1]} is torn")
    assert "move the file away and run again" in page[4]
    assert page[5:] == ["", "  a  1 done, 1 damaged", "  b  2 damaged"]
    assert [path.read_bytes() for path in paths] == before
    said = status_json(store, "msa")
    assert said["damaged"] == 3
    assert str(store.trial(torn[0].id).record) in said["trials"][0]["damage"]


def test_a_failure_says_its_class_and_where_it_was(store, tree):
    failed = tree.write("a", 0, failed=True)
    failure = failed.failure.model_copy(
        update={"kind": "exception", "error": "nets.Broken", "message": "no map", "where": "nets.py:3 in f"}
    )
    store.write_trial(failed.model_copy(update={"failure": failure}))
    page = render_status(store, "msa")
    assert f"a seed 0: exception: Broken: no map, at nets.py:3 in f ({failed.id})" in page
    assert "way out: mend nets.py:3" in page


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
    assert failed["failure"] == {
        "kind": "crashed",
        "error": "",
        "message": "died of SIGSEGV\nmore",
        "where": "",
        "way_out": tree.crash,
    }
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
