"""What goes, and above all what stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from ablate.clean import (
    LEFT_OVER,
    ORPHANED_COST,
    ORPHANED_TRIAL,
    REPLACED,
    STALE_LOCK,
    TEMPORARY,
    find_waste,
    readable_bytes,
    remove_left_over,
    remove_waste,
    render_waste,
)
from ablate.cli import main
from ablate.errors import StoreError
from ablate.record import CostRecord, Environment, PlannedVariant, StudyPlan, TrialRecord
from ablate.store import Holder, Store, write_text

NAMED, BEFORE, PRETRAINED, ORPHAN = "a" * 16, "b" * 16, "c" * 16, "d" * 16
COST, ORPHANED = "1" * 16, "2" * 16
OLD = time.time() - 7200
ENVIRONMENT = Environment(
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


def variant(name: str, trial_id: str, **more) -> PlannedVariant:
    return PlannedVariant(name=name, id=name * 12, settings={}, cost_id=COST, trials={0: trial_id}, **more)


@pytest.fixture
def store(tmp_path) -> Store:
    """Trials that a plan names in three ways, one that none names, and a published tree."""
    store = Store(tmp_path / "results")
    store.write_plan(
        StudyPlan(
            study="msa",
            baseline="a",
            seeds=(0,),
            variants=(variant("a", NAMED, done_before={0: BEFORE}),),
            pretraining=(variant("p", PRETRAINED),),
            analysis={},
            analysis_hash="h",
            planned="2025-01-01T00:00:00+00:00",
            data={},
            recipe={},
        )
    )
    for trial_id in (NAMED, BEFORE, PRETRAINED, ORPHAN):
        finish(store, trial_id)
    for cost_id in (COST, ORPHANED):
        store.write_cost(
            CostRecord(
                id=cost_id,
                machine="m",
                settings={},
                input_shape=(1, 8, 8),
                param_count=1,
                attention_param_count=0,
                macs=1,
                environment=ENVIRONMENT,
                measured="2025-01-01T00:00:00+00:00",
            )
        )
    finish(Store(store.root / "published"), "e" * 16)
    write_text(store.root / "published" / ".a.tmp", "")
    return store


def finish(store: Store, trial_id: str) -> None:
    write_text(store.trial(trial_id).log, "a log\n")
    store.write_trial(
        TrialRecord(
            id=trial_id,
            variant_id="a" * 12,
            seed=0,
            status="done",
            identity={},
            environment=ENVIRONMENT,
            started="2025-01-01T00:00:00+00:00",
            wall_s=1.0,
        )
    )


def everything(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}


def found(store: Store, *studies: str) -> dict[str, str]:
    return {str(each.path.relative_to(store.root)): each.kind for each in find_waste(store, studies).waste}


def dead_lock(store: Store, trial_id: str) -> None:
    take = (
        "import os, sys; from ablate.store import Store\n"
        "lock = Store(sys.argv[1]).take_trial(sys.argv[2]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", take, str(store.root), trial_id], check=True)
    assert store.trial_lock(trial_id).exists()


def old(path: Path, content: str = "x") -> Path:
    write_text(path, content)
    os.utime(path, (OLD, OLD))
    return path


def test_what_no_study_names_goes_and_all_else_stays(store):
    before = everything(store)
    assert found(store) == {f"trials/{ORPHAN}": ORPHANED_TRIAL, f"costs/{ORPHANED}": ORPHANED_COST}
    findings = find_waste(store)
    freed, kept = remove_waste(store, findings)
    gone = {f"trials/{ORPHAN}/record.json", f"trials/{ORPHAN}/log.txt", f"costs/{ORPHANED}/m.json"}
    assert before - everything(store) == gone
    assert (freed, kept) == (findings.bytes, ())
    assert found(store) == {}


def test_the_bytes_are_those_of_the_files(store):
    write_text(store.trial(ORPHAN).weights, "w" * 12_345)
    (orphan,) = [each for each in find_waste(store).waste if each.trial_id == ORPHAN]
    assert orphan.bytes == 12_345 + sum(
        path.stat().st_size for path in (store.trial(ORPHAN).record, store.trial(ORPHAN).log)
    )


def test_a_removed_study_leaves_what_it_shared(store):
    plan = store.read_plan("msa")
    store.write_plan(
        plan.model_copy(update={"study": "other", "pretraining": (), "variants": plan.pretraining})
    )
    for path in store.study("msa").folder.iterdir():
        path.unlink()
    store.study("msa").folder.rmdir()
    orphans = {name for name, kind in found(store).items() if kind == ORPHANED_TRIAL}
    assert orphans == {f"trials/{trial_id}" for trial_id in (NAMED, BEFORE, ORPHAN)}


def test_what_killed_runs_left(store):
    for trial_id in (NAMED, BEFORE):
        paths = store.trial(trial_id)
        for name in (
            "progress.json",
            "output.txt",
            "checkpoint-000001-000000000.safetensors",
            ".record.json.1-abcd.tmp",
            ".progress.json.77",
            ".checkpoint-000002-000000000.safetensors.5",
        ):
            write_text(paths.folder / name, name)
    store.trial(NAMED).record.unlink()  # not ended: it goes on from its checkpoint
    (store.root / "trials" / f"{NAMED}.new").mkdir()
    (store.root / "trials" / f"{PRETRAINED}.old").mkdir()
    dead_lock(store, PRETRAINED)
    old(store.study("msa").folder / ".report.md.1-abcd.tmp")
    old(store.study("msa").tables / ".variants.csv.1-abcd.tmp")
    old(store.root / ".probe-00aa")
    write_text(store.study("msa").folder / ".report.json.1-abcd.tmp", "written just now")
    rest = {
        name: kind for name, kind in found(store).items() if "orphan" not in kind and "no study" not in kind
    }
    temporary = (".record.json.1-abcd.tmp", ".progress.json.77", ".checkpoint-000002-000000000.safetensors.5")
    assert rest == {
        **{f"trials/{trial_id}/{name}": TEMPORARY for trial_id in (NAMED, BEFORE) for name in temporary},
        f"trials/{NAMED}/progress.json": LEFT_OVER,
        f"trials/{BEFORE}/progress.json": LEFT_OVER,
        f"trials/{BEFORE}/output.txt": LEFT_OVER,
        f"trials/{BEFORE}/checkpoint-000001-000000000.safetensors": LEFT_OVER,
        f"trials/{NAMED}.new": REPLACED,
        f"trials/{PRETRAINED}.old": REPLACED,
        f"trials/{PRETRAINED}.lock": STALE_LOCK,
        "msa/.report.md.1-abcd.tmp": TEMPORARY,
        "msa/tables/.variants.csv.1-abcd.tmp": TEMPORARY,
        ".probe-00aa": TEMPORARY,
    }
    remove_waste(store, find_waste(store))
    assert found(store) == {}
    assert (store.trial(NAMED).folder / "checkpoint-000001-000000000.safetensors").exists()
    assert (store.study("msa").folder / ".report.json.1-abcd.tmp").exists()


def test_a_trial_whose_replacement_was_cut_short_is_kept_for_the_next_run(store):
    """Killed between the two renames: the old folder is all there is."""
    store.trial(NAMED).folder.rename(store.root / "trials" / f"{NAMED}.old")
    (store.root / "trials" / f"{NAMED}.new").mkdir()
    assert not any(NAMED in name for name in found(store))


def test_only_what_one_study_left(store):
    write_text(store.trial(NAMED).progress, "{}")
    dead_lock(store, ORPHAN)
    assert found(store, "msa") == {f"trials/{NAMED}/progress.json": LEFT_OVER}
    with pytest.raises(StoreError, match=r"no study 'mas' was run under .*\n    did you mean 'msa'"):
        find_waste(store, ["mas"])


def test_a_running_trial_is_never_touched(store):
    write_text(store.trial(NAMED).progress, "{}")
    (store.root / "trials" / f"{PRETRAINED}.new").mkdir()
    locks = [store.take_trial(trial_id) for trial_id in (ORPHAN, NAMED, PRETRAINED)]
    findings = find_waste(store)
    assert [each.kind for each in findings.waste] == [ORPHANED_COST]
    assert len([sentence for sentence in findings.kept if "being trained" in sentence]) == 3
    for lock in locks:
        lock.release()


def test_one_that_began_to_run_after_the_search_stays(store):
    findings = find_waste(store)
    with store.take_trial(ORPHAN) as lock:
        _, kept = remove_waste(store, findings)
        assert kept == (f"{store.trial(ORPHAN).folder}: being trained ({lock.holder})",)
    assert store.read_trial(ORPHAN) is not None


def test_one_that_a_study_named_after_the_search_stays(store):
    findings = find_waste(store)
    plan = store.read_plan("msa")
    store.write_plan(plan.model_copy(update={"study": "new", "variants": (variant("a", ORPHAN),)}))
    remove_waste(store, findings)
    assert store.read_trial(ORPHAN) is not None


def test_a_lock_of_another_machine_goes_after_a_day(store):
    holder = {"host": "far", "pid": 7, "run_pid": 6, "start": "5", "machine": "boot", "token": "aa11"}
    path = store.trial_lock(NAMED)
    write_text(path, json.dumps(holder))
    assert f"trials/{NAMED}.lock" not in found(store)
    os.utime(path, (time.time() - 90_000,) * 2)
    assert found(store)[f"trials/{NAMED}.lock"] == STALE_LOCK
    remove_waste(store, find_waste(store))
    assert not path.exists()


def test_a_plan_that_cannot_be_read_stops_all(store):
    path = store.study("msa").plan
    path.write_text(path.read_text()[:50])
    with pytest.raises(StoreError, match="torn"):
        find_waste(store)


def test_links_are_not_followed(store, tmp_path):
    outside = tmp_path / "outside"
    old(outside / ".precious.tmp")
    (store.root / "trials" / ("f" * 16)).symlink_to(outside, target_is_directory=True)
    (store.root / "costs" / ("f" * 16)).symlink_to(outside, target_is_directory=True)
    (store.trial(ORPHAN).folder / "link").symlink_to(outside, target_is_directory=True)
    assert set(found(store)) == {f"trials/{ORPHAN}", f"costs/{ORPHANED}"}
    _, kept = remove_waste(store, find_waste(store))
    assert "leads out of the results tree" in kept[0]
    (store.trial(ORPHAN).folder / "link").unlink()
    remove_waste(store, find_waste(store))
    assert (outside / ".precious.tmp").exists()


def test_nothing_published_is_cleaned(store):
    with pytest.raises(StoreError, match="nothing is cleaned there"):
        find_waste(Store(store.root / "published"))


def test_the_page_says_what_and_how_much(store):
    for number in range(12):
        write_text(store.root / "trials" / f"{number:016x}" / "log.txt", "x" * 1000)
    page = render_waste(store, find_waste(store)).splitlines()
    assert page[0].startswith("trials that no study names: 13, 12.")
    assert page[1] == f"    trials/{0:016x}  1.0 kB"
    assert page[11] == "    … and 3 more (--dry-run lists all)"
    assert page[12].startswith("costs that no study names: 1, ")
    assert page[-1].startswith("together 1")
    assert len(render_waste(store, find_waste(store), every=True).splitlines()) == len(page) + 2
    remove_waste(store, find_waste(store))
    assert render_waste(store, find_waste(store)) == "nothing to clean"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_345_678, "2.3 MB"), (5e12, "5.0 TB")]
)
def test_bytes_for_people(count, said):
    assert readable_bytes(count) == said


def test_a_run_removes_what_killed_ones_left_of_its_trials_and_no_result(store):
    """Nothing by its age: a clock that jumps would make a live file of another run an old one."""
    dead_lock(store, NAMED)
    foreign = Holder("elsewhere", 1, 1, "1", "another", "ab" * 8)
    kept = [
        old(store.trial_lock(BEFORE), json.dumps(asdict(foreign))),
        old(store.study("msa").folder / ".plan.json.1-0.tmp"),
        old(store.trial(ORPHAN).folder / ".record.json.1-0.tmp"),
        old(store.trial_again(PRETRAINED).record, "{}"),  # why another attempt failed
    ]
    dead = [
        store.trial_lock(NAMED),
        old(store.trial(NAMED).folder / ".record.json.1-0.tmp"),
        old(store.trial(NAMED).progress),
        old(store.trial(NAMED).folder / "checkpoint-000001-000000000.safetensors"),
        old(store.trial_again(NAMED).log),
        old(store.root / "trials" / f"{PRETRAINED}.old" / "record.json", "{}"),
    ]
    before = everything(store)
    remove_left_over(store, "msa")
    assert everything(store) == before - {str(path.relative_to(store.root)) for path in dead}
    assert all(path.exists() for path in kept)


HOLD = """
import sys, time
from ablate.store import Holder, Store
lock = Store(sys.argv[1]).take_trial(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


def test_what_a_living_process_works_on_is_left_to_it_until_it_is_killed(store):
    """Its files are those of a dead one, name for name; only its lock tells them apart."""
    left = [
        store.trial(NAMED).folder / ".record.json.1-0.tmp",
        store.trial(NAMED).progress,
        store.trial(NAMED).folder / "checkpoint-000001-000000000.safetensors",
        store.trial_again(NAMED).log,
    ]
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root), NAMED], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holding.stdout.readline() == "held\n"
        for path in left:
            old(path)
        before = everything(store)
        remove_left_over(store, "msa")
        assert everything(store) == before
    finally:
        holding.kill()
        holding.wait()
        holding.stdout.close()
    remove_left_over(store, "msa")
    gone = {str(path.relative_to(store.root)) for path in [*left, store.trial_lock(NAMED)]}
    assert everything(store) == before - gone


@pytest.mark.parametrize("status", [None, "failed"])
def test_a_trial_that_has_not_ended_well_keeps_what_it_goes_on_from(store, status):
    record = store.read_trial(NAMED)
    store.trial(NAMED).record.unlink()
    if status == "failed":
        store.write_trial(record.model_copy(update={"status": status}))
    kept = [old(store.trial(NAMED).folder / "checkpoint-000001-000000000.safetensors")]
    progress = old(store.trial(NAMED).progress)
    remove_left_over(store, "msa")
    assert all(path.exists() for path in kept)
    assert not progress.exists()


def test_a_damaged_record_keeps_its_trial_and_stops_nothing_else(store):
    path = store.trial(NAMED).record
    path.write_text(path.read_text()[:50])
    kept = [path, old(store.trial(NAMED).folder / "checkpoint-000001-000000000.safetensors")]
    gone = old(store.trial(PRETRAINED).progress)
    assert any(f"{path} is torn" in sentence for sentence in find_waste(store).kept)
    remove_left_over(store, "msa")
    assert all(path.exists() for path in kept)
    assert not gone.exists()


def test_a_run_leaves_a_tree_that_cannot_be_read_to_those_who_ask(store):
    store.study("msa").plan.write_text("{")
    before = everything(store)
    remove_left_over(store, "msa")
    assert everything(store) == before


# The command


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["clean", *args])
    return ended.value.code


def test_nothing_goes_unasked(store, capsys):
    before = everything(store)
    assert run("-o", str(store.root), "--dry-run") == 0
    assert run("-o", str(store.root)) == 2
    assert "nobody to ask here\n    say --yes" in capsys.readouterr().err
    assert everything(store) == before
    assert run("-o", str(store.root), "--yes") == 0
    assert "removed " in capsys.readouterr().out
    assert len(everything(store)) == len(before) - 3
    assert run("-o", str(store.root)) == 0
    assert "nothing to clean" in capsys.readouterr().out
