"""The log of a trial, whatever became of it."""

from __future__ import annotations

import pytest

from ablate.errors import StoreError
from ablate.status import follow_log, render_log


def logged(store, tree, variant: str, seed: int, text: str | bytes, *, again: bool = False) -> str:
    trial_id = tree.id(variant, seed)
    paths = store.trial_again(trial_id) if again else store.trial(trial_id)
    paths.folder.mkdir(parents=True, exist_ok=True)
    with paths.log.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    return trial_id


def test_what_became_of_it(store, tree):
    done = logged(store, tree, "a", 0, "epoch 1\n")
    tree.write("a", 0)
    assert render_log(store, done) == "epoch 1\n"
    failed = logged(store, tree, "a", 1, "epoch 1\n")
    tree.write("a", 1, failed=True)
    assert render_log(store, failed) == (
        f"epoch 1\n\nfailed: crashed: died of SIGSEGV\nmore\n\nTraceback: here\nway out: {tree.crash}\n"
    )
    killed = logged(store, tree, "b", 0, "epoch 1\n")
    assert render_log(store, killed) == "epoch 1\nnot finished: `ablate run` takes it up\n"
    assert render_log(store, tree.id("b", 1)) == "not begun yet\n"


def test_a_damaged_record_hides_no_log(store, tree):
    trial_id = logged(store, tree, "a", 0, "epoch 1\n")
    tree.write("a", 0)
    path = tree.tear("a", 0)
    shown = render_log(store, trial_id)
    assert shown.startswith(f"epoch 1\ndamaged: {path} is torn or was edited by hand")
    written = []
    follow_log(store, trial_id, written.append, sleep=None)
    assert "".join(written) == shown


def test_a_failure_that_stands_in_the_log_is_not_said_twice(store, tree):
    log = "epoch 1\nfailed (crashed): died of SIGSEGV\nmore\nTraceback: here\n"
    trial_id = logged(store, tree, "a", 0, log)
    tree.write("a", 0, failed=True)
    assert render_log(store, trial_id) == f"{log}way out: {tree.crash}\n"
    store.trial(trial_id).log.unlink()  # a tree that was published without logs
    assert render_log(store, trial_id).startswith(
        "\nfailed: crashed: died of SIGSEGV\nmore\n\nTraceback: here\nway out: "
    )


def test_a_running_one_and_what_it_printed(store, tree):
    trial_id = logged(store, tree, "a", 0, "epoch 1\n")
    store.trial(trial_id).output.write_bytes(b"a warning \xff\n")
    with store.take_trial(trial_id) as lock:
        assert render_log(store, trial_id) == (
            f"epoch 1\nprinted so far:\na warning \ufffd\nrunning ({lock.holder})\n"
        )


def test_a_trial_trained_again_shows_its_new_attempt_while_that_runs(store, tree):
    trial_id = logged(store, tree, "a", 0, "old\n")
    tree.write("a", 0)
    logged(store, tree, "a", 0, "new\n", again=True)
    assert render_log(store, trial_id) == "old\n"
    with store.take_trial(trial_id):
        assert render_log(store, trial_id).startswith("new\n")


def test_following_waits_for_the_start_and_ends_with_the_trial(store, tree):
    """Half a character at the end of one look is the other half's business at the next."""
    trial_id = tree.id("a", 0)
    held = []
    steps = [
        lambda: held.append(store.take_trial(trial_id)),
        lambda: logged(store, tree, "a", 0, "epoch 1"),
        lambda: logged(store, tree, "a", 0, "…".encode()[:2]),
        lambda: logged(store, tree, "a", 0, "…".encode()[2:] + b"\n"),
        lambda: (logged(store, tree, "a", 0, "the end\n"), tree.write("a", 0, failed=True)),
        lambda: held[0].release(),
    ]
    written: list[str] = []
    follow_log(store, trial_id, written.append, sleep=lambda _: steps.pop(0)())
    assert steps == []
    assert "".join(written).startswith("epoch 1…\nthe end\n\nfailed: crashed: died of SIGSEGV")


def test_a_log_that_is_a_link_out_of_the_tree_is_not_shown(store, tree, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    trial_id = tree.id("a", 0)
    store.trial(trial_id).folder.mkdir(parents=True)
    store.trial(trial_id).log.symlink_to(secret)
    with pytest.raises(StoreError, match="leads out of the results tree"):
        render_log(store, trial_id)
