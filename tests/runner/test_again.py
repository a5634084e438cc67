"""The two renames by which a trial that was trained again takes its place, and a crash between them."""

from __future__ import annotations

import pytest

from ablate.errors import StoreError
from ablate.record import Environment, TrialRecord
from ablate.runner.again import recover, start_afresh, take_over
from ablate.store import Store, write_text

ID = "0123456789abcdef"


@pytest.fixture
def paths(tmp_path):
    """(of the old trial, of the new one), both with a record and a file of their own."""
    store = Store(tmp_path)
    old, new = store.trial(ID), store.trial_again(ID)
    for folder, name in ((old, "old"), (new, "new")):
        write_text(folder.record, name)
        write_text(folder.folder / f"{name}.txt", name)
    return old, new


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_one_takes_the_place_of_the_old_one_whole(paths):
    old, new = paths
    take_over(old, new)
    assert names(old.folder) == ["new.txt", "record.json"]
    assert names(old.folder.parent) == [ID]


def test_after_a_crash_between_the_renames_the_finished_new_one_counts(paths):
    old, new = paths
    write_text(new.record, finished("done").model_dump_json())
    old.folder.rename(old.folder.with_name(f"{ID}.old"))
    recover(old, new)
    assert names(old.folder) == ["new.txt", "record.json"]
    assert not new.folder.exists()


def test_a_new_one_whose_record_is_torn_takes_no_place(paths):
    """After a power cut, say: the old result stands on either side of the first rename."""
    old, new = paths
    write_text(new.record, finished("done").model_dump_json()[:50])
    recover(old, new)
    assert names(old.folder) == ["old.txt", "record.json"]
    old.folder.rename(old.folder.with_name(f"{ID}.old"))
    recover(old, new)
    assert names(old.folder) == ["old.txt", "record.json"]
    assert new.folder.exists()


def test_nothing_is_recovered_where_nothing_was(tmp_path):
    store = Store(tmp_path)
    recover(store.trial(ID), store.trial_again(ID))
    write_text(store.trial_again(ID).record, finished("done").model_dump_json())
    recover(store.trial(ID), store.trial_again(ID))  # no old one: it is not for us to say what this was
    assert list(store.trials()) == []


def test_without_a_finished_new_one_the_old_one_comes_back(paths):
    old, new = paths
    old.folder.rename(old.folder.with_name(f"{ID}.old"))
    new.record.unlink()
    recover(old, new)
    assert names(old.folder) == ["old.txt", "record.json"]


def test_what_a_crash_did_not_touch_stays(paths):
    old, new = paths
    recover(old, new)
    assert (old.record.read_text(), new.record.read_text()) == ("old", "new")
    write_text(old.folder.with_name(f"{ID}.old") / "record.json", "older")
    take_over(old, new)
    assert (old.record.read_text(), names(old.folder.parent)) == ("new", [ID])


@pytest.mark.parametrize(("status", "stands"), [("done", "new.txt"), ("failed", "old.txt")])
def test_a_finished_new_one_that_a_crash_kept_from_its_place_gets_it(paths, status, stands):
    """Killed between its record and the first rename: it is finished, so it is not to be trained again."""
    old, new = paths
    write_text(new.record, finished(status).model_dump_json())
    recover(old, new)
    assert stands in names(old.folder)
    assert new.folder.exists() == (status == "failed")


def finished(status):
    around = dict.fromkeys(("ablate", "python", "torch", "numpy", "platform", "machine", "cpu"), "x")
    environment = Environment(**around, cpu_count=1, threads=1, device="cpu", device_name="x")
    return TrialRecord(
        id=ID,
        variant_id="v",
        seed=0,
        status=status,
        identity={},
        environment=environment,
        started="2025-01-01T00:00:00+00:00",
        wall_s=1.0,
    )


def test_an_attempt_starts_from_nothing_and_no_reader_takes_it_for_a_trial(paths, tmp_path):
    old, new = paths
    store = Store(tmp_path)
    old.record.unlink()
    assert list(store.trials()) == []
    start_afresh(new)
    start_afresh(new)
    assert not new.folder.exists()


def test_a_file_in_the_way_is_said(paths):
    old, new = paths
    start_afresh(new)
    with pytest.raises(StoreError, match=f"{ID} cannot be replaced: No such file"):
        take_over(old, new)
