"""The published evidence: reports follow from the records beside them, the front page from the reports."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablate.record import TrialRecord
from ablate.report import render_study
from ablate.store import Store

HERE = Path(__file__).resolve().parent.parent
PUBLISHED = HERE / "results" / "published"
PAGE = HERE / "results" / "README.md"
sys.path.append(str(HERE / "scripts"))

from front_page import CLAIMS, GAPS, SHARES, Claim, front_page  # noqa: E402 - a script
from publish import places_in  # noqa: E402

pytestmark = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="nothing is published yet")
STUDIES = sorted(path.parent.name for path in PUBLISHED.glob("*/plan.json"))
MOST_BYTES = 15 * 2**20
# Beside these there is nothing: no weights, no checkpoint, no log, no lock.
OF_A_TRIAL = {"record.json", "settings.yaml", "epochs.csv", "predictions.npz"}


@pytest.fixture(scope="session")
def store() -> Store:
    return Store(PUBLISHED)


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_comes_out_of_its_records_byte_for_byte(name: str, store: Store) -> None:
    assert render_study(store, name, "markdown").encode() == (PUBLISHED / name / "report.md").read_bytes()


def test_the_command_that_writes_a_report_anew_changes_no_file(tmp_path: Path) -> None:
    """`ablate report results/published/NAME`, in a copy; of the smallest study, figures and all."""
    name = min(STUDIES, key=lambda study: (PUBLISHED / study / "plan.json").stat().st_size)
    root = tmp_path / "results" / "published"
    shutil.copytree(PUBLISHED, root)
    folder = root / name
    texts = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".svg", ".png")]
    before = {path: path.read_bytes() for path in texts}
    command = [sys.executable, "-m", "ablate", "report", str(folder)]
    subprocess.run(command, check=True, cwd=HERE, capture_output=True)
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in folder.rglob("*") if path.is_file()} == {
        folder / path.relative_to(PUBLISHED / name)
        for path in (PUBLISHED / name).rglob("*")
        if path.is_file()
    }


def test_only_what_a_report_rests_on_is_published(store: Store) -> None:
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert {path.name for path in files if "trials" in path.relative_to(PUBLISHED).parts} <= OF_A_TRIAL
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert not {path: found for path in files if (found := places_in(path))}
    planned = {
        trial
        for name in STUDIES
        for plan in [store.read_plan(name)]
        if plan is not None
        for variant in (*plan.variants, *plan.pretraining)
        for trial in variant.trials.values()
    }
    assert set(store.trial_ids()) <= planned, "a trial that no study names"
    for trial_id in store.trial_ids():
        store.check_files(trial_id)


def test_what_was_run_was_committed(store: Store) -> None:
    """A record that rests on changes nobody can look up proves little."""
    assert not [record.id for record in store.trials() if record.environment.diff]


# The front page


def test_the_front_page_is_what_the_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == front_page(PUBLISHED)


def test_every_claim_is_judged() -> None:
    said = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("**C")]
    assert len(said) == len(CLAIMS) == 8
    assert not [line for line in said if "Not judged yet" in line]


NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?")


def numbers_in(value: Any) -> Iterator[float]:
    """Every number of a JSON document, without its sign; those in its sentences, too."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield abs(float(value))
    elif isinstance(value, str):
        yield from (float(said.replace(",", "")) for said in NUMBER.findall(value))
    else:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(inner)


def lost_in(said: str, known: Iterable[float]) -> list[str]:
    """The numbers of a text to which none of those known rounds."""
    values = list(known)
    return [
        number
        for number in NUMBER.findall(said)
        if not any(
            abs(float(number.replace(",", "")) - value) <= 0.5000001 * 10 ** -len(number.partition(".")[2])
            for value in values
        )
    ]


@pytest.fixture(scope="session")
def reports() -> dict[str, Any]:
    return {name: json.loads((PUBLISHED / name / "report.json").read_text()) for name in STUDIES}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda claim: claim.id)
def test_every_figure_of_a_verdict_is_one_of_its_own_evidence(one: Claim, reports: dict[str, Any]) -> None:
    """And none but these stands there, save shares of what was counted and the gaps of C6."""
    page = PAGE.read_text(encoding="utf-8")
    told = next(line for line in page.splitlines() if line.startswith(f"**{one.id} · {one.says}.** "))
    told = re.sub(r"\]\([^)]*\)", "]", told.removeprefix(f"**{one.id} · {one.says}.** "))
    for study, ids in one.evidence:
        for row in reports[study]["claims"] if study in reports else ():
            if row["id"] not in ids:
                continue
            start = f"*{row['say']}* is **{row['verdict']}**"
            assert told.count(start) >= 1, start
            before, _, after = told.partition(start)
            sentence, end, rest = re.split(r"(; \*|; training|; msa adds|\. From)", after, maxsplit=1)
            figures = row["evidence"]["figures"]
            assert NUMBER.search(sentence) or all(figure["estimate"] is None for figure in figures)
            assert not lost_in(sentence, [*numbers_in(figures), *shares(figures)]), sentence
            told = f"{before}{end}{rest}"
    assert not lost_in(told.partition(". From")[0], apart_from_claims(one, reports)), told


def shares(figures: list[dict[str, Any]]) -> Iterator[float]:
    """What two counts differ by, in percent of the second; and intervals' levels in percent."""
    for figure in figures:
        yield 100 * (figure["ci_level"] or 0)
        known = [value for value in figure["sides"].values() if value]
        if len(known) == 2:
            yield abs(known[0] - known[1])
            yield 100 * abs(known[0] - known[1]) / known[1]


def apart_from_claims(one: Claim, reports: dict[str, Any]) -> list[float]:
    """How far training is ahead of the test, and what is added to one module, reckoned from other figures."""
    found = []
    for study, *sides in GAPS.get(one.id, ()):
        for row in reports[study]["variants"] if study in reports else ():
            if {row["name"], *row["aliases"]} & set(sides):
                trials = [t for t in reports[study]["trials"] if t["variant"] == row["name"]]
                gaps = [t["train_accuracy"] - t["accuracy"] for t in trials if t["status"] == "done"]
                found += [abs(statistics.fmean(gaps)), *numbers_in(row["name"]), *numbers_in(row["aliases"])]
    for study, variant, module in SHARES.get(one.id, ()):
        if study in reports:
            modules = json.loads((PUBLISHED / study / "modules.json").read_text())["baseline"]["rows"]
            whole = next(row["param_count"] for row in modules if row["path"] == module)
            counts = {row["name"]: row["param_count"] for row in reports[study]["variants"]}
            found += [whole, 100 * (counts[variant] - counts["baseline"]) / whole]
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_the_line_of_a_study_has_its_own_counts(name: str, reports: dict[str, Any]) -> None:
    page, report = PAGE.read_text(encoding="utf-8"), reports[name]
    line = next(line for line in page.splitlines() if line.startswith(f"| [{name}]"))
    _, _, trials, seeds, shows, _, _, minutes, *_ = (cell.strip() for cell in line.split("|"))
    took = sum(trial["wall_s"] or 0 for trial in report["trials"]) / 60
    assert minutes == (f"{took:,.0f}" if took else "–")
    done = sum(trial["status"] == "done" for trial in report["trials"])
    assert trials == (str(done) if done == len(report["trials"]) else f"{done}/{len(report['trials'])}")
    assert int(seeds) == len(report["seeds"])
    assert not lost_in(shows, [v["minimum_detectable_effect"] or 0 for v in report["variants"]])
    if "scope" in report:
        assert f"- {name}: {report['scope']}\n" in page


def test_the_differences_of_the_claims_follow_from_the_accuracies_of_the_trials(store: Store) -> None:
    """By an average over records, apart from the report's own arithmetic; and the page prints them so."""
    page = PAGE.read_text(encoding="utf-8")
    checked = 0
    for one in CLAIMS:
        said = next(line for line in page.splitlines() if line.startswith(f"**{one.id} "))
        for study, ids in one.evidence:
            plan = store.read_plan(study) if study in STUDIES else None
            for claim in plan.claims if plan is not None else ():
                if claim["id"] in ids and claim["kind"] == "difference":
                    for other in claim["against"]:
                        gap = mean(store, study, claim["of"]) - mean(store, study, other)
                        printed = f"{claim['of']} − {other} {gap:+.2f}".replace("-", "−")
                        assert printed in said.replace("-", "−"), (one.id, printed)
                        checked += 1
    assert checked >= 10


def mean(store: Store, study: str, name: str) -> float:
    plan = store.read_plan(study)
    assert plan is not None
    variant = next(v for v in plan.variants if name in (v.name, *v.aliases))
    records: list[TrialRecord | None] = [store.read_trial(trial) for trial in variant.trials.values()]
    return statistics.fmean(r.metrics.accuracy for r in records if r is not None and r.metrics is not None)
