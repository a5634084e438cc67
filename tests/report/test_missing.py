"""Every failed trial stands in the report, with where to look."""

from __future__ import annotations

import json
from typing import Any

from ablate.record import Failure
from ablate.report import build_report, render_study
from ablate.report.missing import failures_table, incomplete_table


def plant(tree: Any) -> str:
    """One of five seeds failed, two are to be run; the id of the failed trial."""
    tree.add_variant("baseline", dict.fromkeys(range(5), 84.0))
    tree.add_variant("se", {0: 85.0, 1: 84.0, 3: None})
    tree.plan()
    (record,) = [record for record in tree.store.trials() if record.failure is not None]
    failure = Failure(
        kind="exception",
        error="nets.Broken",
        message="no [map] | here\nsecond line",
        where="nets.py:12 in forward",
        attempts=2,
    )
    tree.store.write_trial(record.model_copy(update={"failure": failure}))
    return str(record.id)


def test_each_failure_has_variant_seed_class_line_and_log(tree: Any) -> None:
    trial = plant(tree)
    report = build_report(tree.store, "msa")
    assert incomplete_table(report)[1] == [("se", "2/5", "2, 4", "3")]
    headline = "exception: Broken: no [map] | here (2 attempts)"
    assert failures_table(report)[1] == [
        ("se", "3", headline, "nets.py:12 in forward", f"trials/{trial}/log.txt")
    ]
    assert (tree.store.root / f"trials/{trial}/record.json").is_file()  # the path leads to the trial


def test_a_failure_is_a_whole_entry_in_json(tree: Any) -> None:
    trial = plant(tree)
    [entry] = json.loads(render_study(tree.store, "msa", "json"))["incomplete"]
    assert entry["failures"] == [
        {
            "seed": 3,
            "trial": trial,
            "kind": "exception",
            "error": "nets.Broken",
            "message": "no [map] | here\nsecond line",
            "where": "nets.py:12 in forward",
            "attempts": 2,
            "log": f"trials/{trial}/log.txt",
        }
    ]


def test_a_report_without_failures_has_no_such_table(tree: Any) -> None:
    tree.add_variant("baseline", dict.fromkeys(range(5), 84.0))
    tree.add_variant("se", {0: 85.0})
    tree.plan()
    markdown = render_study(tree.store, "msa", "markdown")
    assert "## Incomplete and failed" in markdown
    assert "What happened" not in markdown
