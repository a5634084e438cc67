"""Event files read back by TensorBoard's own reader, and by one that was running meanwhile."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.track.event_files import EventFiles

pytestmark = pytest.mark.tracking


@pytest.fixture
def files(tree) -> EventFiles:
    files = EventFiles(tree.store, "tiny")
    files.open()
    yield files
    files.close()


def reader(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})


def scalars(accumulator, name="epoch/train_loss"):
    accumulator.Reload()
    if name not in accumulator.Tags()["scalars"]:
        return []
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def expected(loss, epochs):
    return [(epoch, float(np.float32(loss(epoch)))) for epoch in range(1, epochs + 1)]


def one_over(epoch):
    return 1 / epoch


def test_a_file_grows_with_its_trial(tree, files):
    trial = tree.of()
    folder = tree.store.root / "tiny/tensorboard/se/seed-0"
    for epochs in (0, 1, 3):
        tree.train(trial, epochs)
        files.write(tree.taken(trial, held=True))
        assert scalars(reader(folder)) == expected(one_over, epochs)
    [path] = folder.iterdir()
    tree.end(trial)
    tree.measure(trial, 1.5)
    snapshot = tree.taken(trial)
    files.write(snapshot)
    assert files.is_settled(trial, snapshot.mark)
    assert path.exists()
    found = reader(folder)
    assert scalars(found) == expected(one_over, 3)
    assert [step for step, _ in scalars(found, "step/loss")] == [1, 2, 3, 4, 5, 6]
    assert scalars(found, "final/accuracy") == [(3, float(np.float32(85.3)))]
    assert scalars(found, "cost/latency_ms") == [(0, 1.5)]


@pytest.mark.parametrize("loss", [one_over, lambda epoch: 2 / epoch], ids=["same", "other"])
def test_a_trial_that_was_cut_back_has_every_point_once(tree, files, loss):
    """Also for a reader that was there before: the points that came after the checkpoint do not stay."""
    trial, folder = tree.of(), tree.store.root / "tiny/tensorboard/se/seed-0"
    tree.train(trial, 3, images_per_s=10.0)
    files.write(tree.taken(trial, held=True))
    watching = reader(folder)
    assert scalars(watching) == expected(one_over, 3)
    tree.train(trial, 1, images_per_s=10.0)
    files.write(tree.taken(trial, held=True))
    tree.train(trial, 4, loss=loss, images_per_s=20.0)
    tree.end(trial)
    files.write(tree.taken(trial))
    for found in (reader(folder), watching):
        assert scalars(found) == expected(loss, 4)
        assert scalars(found, "epoch/images_per_s") == [(epoch, 20.0) for epoch in (1, 2, 3, 4)]


def test_another_process_goes_on_with_a_file_that_was_torn(tree, files):
    trial, folder = tree.of(), tree.store.root / "tiny/tensorboard/se/seed-0"
    tree.train(trial, 2)
    files.write(tree.taken(trial, held=True))
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    second = EventFiles(tree.store, "tiny")
    second.open()
    tree.train(trial, 3)
    second.write(tree.taken(trial, held=True))
    assert sorted(path.stat().st_size > 0 for path in folder.iterdir()) == [False, True]
    assert scalars(reader(folder)) == expected(one_over, 3)
    second.close()


def test_a_write_that_failed_is_made_good(tree, files):
    trial, folder = tree.of(), tree.store.root / "tiny/tensorboard/se/seed-0"
    tree.train(trial, 1)
    files.write(tree.taken(trial, held=True))
    files._files[trial.id].file.close()
    tree.train(trial, 2)
    with pytest.raises(ValueError, match="closed file"):
        files.write(tree.taken(trial, held=True))
    files.write(tree.taken(trial, held=True))
    assert scalars(reader(folder)) == expected(one_over, 2)


def test_what_was_settled_is_settled_until_there_is_more(tree, files):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial)
    first = tree.taken(trial)
    assert not files.is_settled(trial, first.mark)
    files.write(first)
    assert files.is_settled(trial, first.mark)
    tree.measure(trial, 1.5)
    second = tree.taken(trial)
    assert not files.is_settled(trial, second.mark)
    files.write(second)
    assert files.is_settled(trial, second.mark)
    assert not files.is_settled(trial, first.mark)
    found = reader(files.folder(trial))
    assert scalars(found) == expected(one_over, 2)
    assert scalars(found, "cost/latency_ms") == [(0, 1.5)]
    assert [event.step for event in found.Tensors("trial")] == [0, 1, 2]
    assert len(list(files.folder(trial).glob("events.*"))) == 1, "only what is cut back is written anew"
    tree.measure(trial, 2.5, day=2)
    files.write(tree.taken(trial))
    assert scalars(reader(files.folder(trial)), "cost/latency_ms") == [(0, 2.5)]


def test_a_loss_that_is_no_number_is_shown(tree, files):
    trial = tree.of()
    tree.train(trial, 2, loss=lambda epoch: math.nan if epoch == 2 else math.inf)
    files.write(tree.taken(trial, held=True))
    tree.end(trial, failed=True)
    files.write(tree.taken(trial))
    (_, first), (_, second) = scalars(reader(files.folder(trial)))
    assert first == math.inf
    assert math.isnan(second)


def test_parameters_lead_to_the_page_of_hyperparameters_and_words_to_the_record(tree, files):
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status

    trial = tree.of()
    tree.train(trial, 1)
    tree.end(trial)
    files.write(tree.taken(trial))
    found = reader(files.folder(trial))
    found.Reload()
    data = {
        tag: found.SummaryMetadata(tag).plugin_data.content
        for tag in found.Tags()["tensors"]
        if "_hparams_" in tag
    }
    start = metadata.parse_session_start_info_plugin_data(data[metadata.SESSION_START_INFO_TAG])
    assert start.group_name == "se"
    assert start.hparams["model.args.width"].number_value == 0.125
    assert start.hparams["data.augment.flip"].bool_value
    assert start.hparams["model.attention.name"].string_value == "se"
    end = metadata.parse_session_end_info_plugin_data(data[metadata.SESSION_END_INFO_TAG])
    assert end.status == Status.Value("STATUS_SUCCESS")
    words = found.Tensors("trial")[-1].tensor_proto.string_val[0].decode()
    assert f"| ablate.record | trials/{trial.id}/record.json |" in words
    assert "| ablate.status | done |" in words


def test_a_name_from_elsewhere_leads_to_no_folder_outside(tree, files):
    from dataclasses import replace

    for name in ("../../../x", "..", "a/b", "."):
        folder = files.folder(replace(tree.of(), variant=name))
        assert folder.resolve().is_relative_to(files.root.resolve())
        assert folder.parent != files.root


def test_writing_events_needs_no_torch():
    import subprocess
    import sys

    script = (
        "import sys, tempfile; from ablate.store import Store; import ablate.track.event_files as files\n"
        "files.EventFiles(Store(tempfile.mkdtemp()), 'tiny').open(); files._packed(files._scalars({}))\n"
        "import tensorboard.plugins.hparams.summary_v2\n"
        "assert not {'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
