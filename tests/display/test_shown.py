"""What is shown of a run: figures first, then the drawing."""

from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from rich.console import Console

from ablate.display import (
    LiveDisplay,
    NullDisplay,
    Opening,
    PlainDisplay,
    QuietDisplay,
    WatchedTrial,
    duration,
    make_display,
    read_board,
    remaining_s,
    render_board,
)
from ablate.display.lines import log_of
from ablate.record import Environment, Failure, TrialMetrics, TrialRecord
from ablate.store import Store, write_text

NOW = 1_750_000_000.0
TRIALS = tuple(WatchedTrial("msa reduction=4", seed, f"{seed:016x}") for seed in range(4))


def record(trial: WatchedTrial, *, failure: str = "") -> TrialRecord:
    environment = Environment(
        ablate="0",
        python="3",
        torch="2",
        numpy="2",
        platform="p",
        machine="m",
        cpu="c",
        cpu_count=2,
        threads=1,
        device="cpu",
        device_name="c",
    )
    metrics = TrialMetrics(
        accuracy=85.3,
        accuracy_best=85.0,
        best_epoch=1,
        test_loss=0.1,
        validation_accuracy=85.0,
        validation_loss=0.1,
        train_accuracy=85.0,
        train_loss=0.1,
    )
    return TrialRecord(
        id=trial.trial_id,
        variant_id="0" * 12,
        seed=trial.seed,
        status="failed" if failure else "done",
        identity={},
        metrics=None if failure else metrics,
        failure=Failure(kind="timeout", message=failure) if failure else None,
        environment=environment,
        started="2025-01-01T00:00:00+00:00",
        wall_s=9.83,
    )


@pytest.fixture
def opening(tmp_path) -> Opening:
    return Opening("msa", total=75, done=71, trials=TRIALS, workers=2, store=Store(tmp_path))


def say(opening: Opening, trial: WatchedTrial, *, at: float = NOW, **figures) -> None:
    said = {
        "pid": 1,
        "host": "h",
        "epoch": 3,
        "epochs": 4,
        "step": 5,
        "steps": 10,
        "loss": 0.5123,
        "accuracy": 81.24,
        "images_per_s": 4310.4,
        "updated": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
    }
    write_text(opening.store.trial(trial.trial_id).progress, json.dumps(said | figures))


def drawn(renderable, width=100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def text_of(display, out) -> list[str]:
    return out.file.getvalue().splitlines()


# The board


def test_the_board_shows_the_first_unfinished_trials_one_a_worker(opening):
    say(opening, TRIALS[1])
    board = read_board(opening, finished={TRIALS[0].trial_id}, failed=0, elapsed_s=60.0, since=NOW)
    assert [row.trial for row in board.rows] == [TRIALS[1], TRIALS[2]]
    assert board.rows[0].progress.fraction == pytest.approx((2 + 5 / 10) / 4)
    assert board.rows[1].progress is None
    assert (board.done, board.total, board.failed) == (72, 75, 0)
    # One trial and five eighths of another took 60 s; two and three eighths remain.
    assert board.eta_s == pytest.approx(60 * 2.375 / 1.625)


@pytest.mark.parametrize(("ours", "pid_of"), [(True, lambda: os.getpid() + 1), (False, os.getpid)])
def test_what_another_run_trains_has_no_line_here(opening, monkeypatch, ours, pid_of):
    def holder(_store, trial_id):
        theirs = trial_id == TRIALS[0].trial_id
        return SimpleNamespace(machine_is_ours=ours, run_pid=pid_of()) if theirs else None

    monkeypatch.setattr(Store, "holder", holder)
    board = read_board(opening, finished=set(), failed=0, elapsed_s=1.0, since=NOW)
    assert [row.trial for row in board.rows] == [TRIALS[1], TRIALS[2]]


def test_progress_from_before_the_run_is_not_shown(opening):
    say(opening, TRIALS[0], at=NOW - 5)
    say(opening, TRIALS[1], at=NOW)
    board = read_board(opening, finished=set(), failed=0, elapsed_s=1.0, since=NOW + 0.7)
    assert [row.progress is None for row in board.rows] == [True, False]


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "updated": 3}', "null"])
def test_torn_progress_is_no_progress(opening, torn):
    write_text(opening.store.trial(TRIALS[0].trial_id).progress, torn)
    board = read_board(opening, finished=set(), failed=0, elapsed_s=1.0, since=NOW)
    assert board.rows[0].progress is None
    assert board.eta_s is None


def test_the_board_is_drawn(opening):
    say(opening, TRIALS[0])
    say(opening, TRIALS[1], loss=None, accuracy=None, images_per_s=None)
    board = read_board(opening, finished=set(), failed=1, elapsed_s=60.0, since=NOW)
    first, second, bar = drawn(render_board(board)).splitlines()
    for part in ("msa reduction=4 seed 0", "epoch 3/4", "loss 0.512", "81.2 %", "4,310 images/s"):
        assert part in first
    assert second.split() == ["msa", "reduction=4", "seed", "1", "epoch", "3/4"]
    for part in ("70/75 trials", "1 failed", "1:00 min", "left"):
        assert part in bar


@pytest.mark.parametrize("width", [20, 40, 200])
def test_every_width_holds_a_board(opening, width):
    say(opening, TRIALS[0])
    board = read_board(opening, finished=set(), failed=0, elapsed_s=60.0, since=NOW)
    assert all(len(line) <= width for line in drawn(render_board(board, width=width), width).splitlines())


def test_time_left():
    assert remaining_s(10.0, 0.0, 4) is None
    assert remaining_s(10.0, 1.0, 4) == 30.0
    assert remaining_s(10.0, 4.0, 4) == 0.0


def test_durations():
    assert [duration(s) for s in (0.4, 59.4, 60, 185, 3600, 7383)] == [
        "0 s",
        "59 s",
        "1:00 min",
        "3:05 min",
        "1:00 h",
        "2:03 h",
    ]


# Lines


def log(opening: Opening, seed: int):
    return opening.store.trial(TRIALS[seed].trial_id).log


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, highlight=False)


def test_without_a_terminal_each_trial_is_a_line_and_failures_stand_again_at_the_end(opening):
    out = console()
    display = PlainDisplay(out)
    display.start(opening)
    display.finished(TRIALS[0], record(TRIALS[0]))
    display.finished(TRIALS[2], record(TRIALS[2], failure="stopped after 60 s\nmore"))
    display.end("the end [bold]as it is[/bold]", "report.md")
    assert out.file.getvalue().splitlines() == [
        "msa: 4 of 75 trials to train, 71 are done; 2 workers",
        "[ 72/75] msa reduction=4 seed 0: 85.30 % in 9.8 s",
        "[ 73/75] msa reduction=4 seed 2: FAILED: timeout: stopped after 60 s",
        f"    log: {log(opening, 2)}",
        "failed: msa reduction=4 seed 2: timeout: stopped after 60 s",
        "    way out: raise --timeout, or shorten the training (train.epochs, train.steps)",
        "the end [bold]as it is[/bold]",
    ]


def test_a_long_line_is_not_broken_where_a_program_reads_it(opening):
    out = console()
    display = PlainDisplay(out)
    display.note("x" * 300)
    assert out.file.getvalue() == "x" * 300 + "\n"


def test_quiet_is_failures_and_the_path(opening):
    out, err = console(), console()
    display = QuietDisplay(out, err)
    display.start(opening)
    display.note("a note")
    display.finished(TRIALS[0], record(TRIALS[0]))
    display.finished(TRIALS[1], record(TRIALS[1], failure="stopped"))
    display.end("a long message", "results/msa/report.md")
    assert out.file.getvalue() == "results/msa/report.md\n"
    assert err.file.getvalue().splitlines() == [
        "msa reduction=4 seed 1: FAILED: timeout: stopped",
        f"    log: {log(opening, 1)}",
        "failed: msa reduction=4 seed 1: timeout: stopped",
        "    way out: raise --timeout, or shorten the training (train.epochs, train.steps)",
    ]


def test_quiet_says_why_there_is_no_report(opening):
    out, err = console(), console()
    QuietDisplay(out, err).end("interrupted: 3 of 75 trials are done", "")
    assert (out.file.getvalue(), err.file.getvalue()) == ("", "interrupted: 3 of 75 trials are done\n")


def test_the_live_board_reads_injected_clocks_and_leaves_the_terminal_clean(opening):
    out = console(terminal=True)
    seconds = iter([0.0])
    display = LiveDisplay(out, clock=lambda: next(seconds, 30.0), wall_clock=lambda: NOW)
    display.start(opening)
    say(opening, TRIALS[0])
    try:
        board = drawn(display.render())
        assert "epoch 3/4" in board
        assert "30 s" in board
        display.finished(TRIALS[0], record(TRIALS[0], failure="stopped"))
        assert "1 failed" in drawn(display.render())
    finally:
        display.end("the end", "report.md")
    lines = out.file.getvalue()
    assert lines.count("msa reduction=4 seed 0: FAILED: timeout: stopped") == 1
    assert lines.count("failed: msa reduction=4 seed 0: timeout: stopped") == 1
    assert lines.rstrip().endswith("the end")
    assert lines.count("\x1b[?25l") == lines.count("\x1b[?25h")  # the cursor is shown again


def test_a_failure_names_the_line_and_the_log_at_once(opening):
    out = console()
    display = PlainDisplay(out)
    display.start(opening)
    failure = Failure(
        kind="exception", error="nets.Broken", message="no map\nmore", where="nets.py:12 in forward"
    )
    failed = record(TRIALS[0], failure="x").model_copy(update={"failure": failure})
    display.finished(TRIALS[0], failed)
    assert out.file.getvalue().splitlines()[1:] == [
        "[ 72/75] msa reduction=4 seed 0: FAILED: exception: Broken: no map",
        f"    at nets.py:12 in forward; log: {log(opening, 0)}",
    ]


def test_a_forced_trial_that_failed_has_its_log_beside_the_one_that_was_done(opening):
    again = opening.store.trial_again(TRIALS[0].trial_id).log
    write_text(again, "new\n")
    assert log_of(opening, TRIALS[0]) == again
    assert log_of(opening, TRIALS[1]) == log(opening, 1)


def test_a_run_with_nothing_to_train_starts_no_board(opening):
    out = console(terminal=True)
    display = LiveDisplay(out)
    display.start(Opening("msa", 75, 75, (), 2, opening.store))
    display.note("writing the report")
    display.end("the end", "")
    assert [line.strip() for line in out.file.getvalue().splitlines()] == [
        "msa: nothing to train, 75 of 75 trials are done",
        "writing the report",
        "the end",
    ]


def test_before_the_start_each_step_is_a_line_where_lines_stay(opening):
    out = console()
    display = PlainDisplay(out)
    for detail in ("baseline", "se"):
        display.step("building the networks", detail)
    display.step("")
    assert out.file.getvalue() == "building the networks …\n"


def test_in_a_terminal_a_step_writes_over_the_last_and_leaves_no_trace(opening):
    out = console(terminal=True)
    display = LiveDisplay(out)
    display.step("loading torch")
    display.step("building the networks", "se")
    display.step("")
    display.note("a note")
    shown = out.file.getvalue()
    assert "\n" not in shown.partition("loading torch …")[2].partition("building")[0]
    assert shown.rstrip().endswith("a note")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_quiet_says_nothing_of_steps(opening):
    out, err = console(), console()
    QuietDisplay(out, err).step("loading torch")
    assert out.file.getvalue() + err.file.getvalue() == ""


def test_a_place_that_the_message_names_is_not_named_again(opening):
    out = console()
    display = PlainDisplay(out)
    display.start(opening)
    failure = Failure(
        kind="timeout", message="stopped after 9 s; it stood at net.py:3 in f", where="net.py:3 in f"
    )
    display.finished(TRIALS[0], record(TRIALS[0], failure="x").model_copy(update={"failure": failure}))
    assert out.file.getvalue().count("net.py:3") == 1


def test_the_display_suits_the_stream():
    assert isinstance(make_display(quiet=True), QuietDisplay)
    assert isinstance(make_display(out=console()), PlainDisplay)
    assert isinstance(make_display(out=console(terminal=True)), LiveDisplay)


def test_no_display_is_a_display_too(opening):
    display = NullDisplay()
    display.start(opening)
    display.finished(TRIALS[0], record(TRIALS[0]))
    display.note("")
    display.end("", "")
