"""A look at a study that was trained: the same images everywhere, the networks that were tested."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ablate.errors import AblateError, MachineError
from ablate.look import LookError, Wishes, look_at, write_look
from ablate.look.numbers import document
from ablate.store import Store

BARE = Wishes(images=5, sample=60, channels=3, top=2)
WISHES = replace(BARE, layers=("block1", "**.conv3"))


@pytest.fixture(scope="module")
def look(tree, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_CACHE", str(tree.root.parent / "cache"))
        return look_at(tree, "seen", WISHES)


@pytest.fixture
def copy(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", str(tree.root.parent / "cache"))
    shutil.copytree(tree.root, tmp_path / "results")
    return Store(tmp_path / "results")


def test_the_networks_are_those_that_were_tested(look, tree):
    """What each trial says here is what it recorded when it was tested."""
    names = ["baseline, seed 0", "baseline, seed 1", "msa, seed 0", "self, seed 0"]
    assert [trial.name for trial in look.trials] == names
    for trial in look.trials:
        arrays = tree.read_predictions(trial.trial)
        at = [int(np.flatnonzero(arrays["index"] == image.row)[0]) for image in look.images]
        assert [said.predicted for said in trial.predictions] == arrays["predicted"][at].tolist()
        np.testing.assert_allclose(
            [said.confidence for said in trial.predictions], arrays["probability"][at], rtol=1e-4
        )
        assert [image.label for image in look.images] == arrays["label"][at].tolist()
        assert trial.accuracy == tree.read_trial(trial.trial).metrics.accuracy
        assert trial.notes == ()


def test_the_rows_of_every_trial(look):
    by_name = {trial.name: trial for trial in look.trials}
    baseline, msa, attends = (by_name[f"{name}, seed 0"] for name in ("baseline", "msa", "self"))
    assert [row.layer for row in baseline.layers] == ["block1"]
    assert not baseline.gates and not baseline.changes
    assert "attention.block2.multi_scale.conv3" in [row.layer for row in msa.layers]
    assert [(gate.place, gate.name) for gate in msa.gates] == [
        (place, name) for place in ("block1", "block2") for name in ("channel", "spatial")
    ]
    assert [row.place for row in msa.branches] == ["block1", "block2"]
    assert [row.part for row in attends.attention] == [""]
    for trial in look.trials:
        assert all(len(row.maps) == 5 for row in trial.layers)


def test_figures_of_gates_come_from_the_sample(look):
    for gate in next(trial for trial in look.trials if trial.variant == "msa").gates:
        assert gate.figures.images == 60
        assert gate.figures.from_start is not None
        assert gate.element_mean.shape == gate.shape


def test_wrong_predictions_first(copy):
    found = look_at(copy, "seen", replace(BARE, wrong_first=True, images=4, variants=("baseline",)))
    wrong = [
        sum(trial.predictions[at].predicted != image.label for trial in found.trials)
        for at, image in enumerate(found.images)
    ]
    assert wrong == sorted(wrong, reverse=True) and wrong[0] == 2
    assert found.chosen == "4 test images, those first that most of 2 trials predict wrongly"


def test_only_images_of_the_classes_that_are_asked_for(copy):
    found = look_at(copy, "seen", replace(BARE, classes=("3", "5"), variants=("baseline",), seeds=(0,)))
    assert {found.classes[image.label] for image in found.images} == {"3", "5"}
    assert found.chosen.startswith("5 test images of 3, 5, drawn evenly")


def test_without_captum_all_but_class_activation(copy, without_captum):
    found = look_at(copy, "seen", replace(WISHES, variants=("msa",), seeds=(0,)))
    assert found.notes == ("class-activation maps need captum: pip install 'ablate-bench[look]'",)
    assert found.trials[0].cam is None and found.trials[0].layers
    assert write_look(copy, found, figures=False).is_file()
    with pytest.raises(MachineError, match=r"ablate-bench\[look\]"):
        look_at(copy, "seen", replace(WISHES, cam=True))


def test_class_activation_where_it_is_asked_for(copy):
    pytest.importorskip("captum")
    wishes = replace(BARE, variants=("msa",), seeds=(0,), sample=10)
    assert look_at(copy, "seen", replace(wishes, cam=False)).trials[0].cam is None
    assert look_at(copy, "seen", replace(wishes, cam_layer="block1")).trials[0].cam.layer == "block1"
    with pytest.raises(LookError) as raised:
        look_at(copy, "seen", replace(wishes, cam_layer="blok1"))
    assert str(raised.value) == (
        "--cam-layer: 'blok1' gives no feature map (B, C, H, W) exactly once\n"
        "    nearest: block1, block3, block2"
    )


def test_weights_that_are_not_those_of_the_record_are_refused(copy):
    plan = copy.read_plan("seen")
    msa = next(variant for variant in plan.variants if variant.name == "msa")
    path = copy.trial(msa.trials[0]).weights
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(AblateError, match=r"is not the file that record\.json beside it vouches for"):
        look_at(copy, "seen", WISHES)


def test_weights_that_are_gone_are_said_to_be(copy):
    plan = copy.read_plan("seen")
    msa = next(variant for variant in plan.variants if variant.name == "msa")
    copy.trial(msa.trials[0]).weights.unlink()
    found = look_at(copy, "seen", replace(BARE, seeds=(0,)))
    assert "msa" not in [trial.variant for trial in found.trials]
    assert any(line.startswith("msa, seed 0: weights gone; train again with") for line in found.left_out)


def test_files_and_the_numbers_in_them(look, copy):
    page = write_look(copy, look)
    folder = copy.study("seen").look
    assert page == copy.study("seen").look_html
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "look.json",
        "baseline/seed-1/features-block1.png",
        "msa/seed-0/top-channels-attention-block2-multi-scale-conv3.png",
        "msa/seed-0/attention-block2.png",
        "msa/seed-0/channel-gates.svg",
        "self/seed-0/self-attention-block2.png",
    } <= written
    numbers = json.loads((folder / "look.json").read_text())
    assert numbers == document(look)
    msa = numbers["trials"][2]
    gate = look.trials[2].gates[0]
    assert np.array_equal(np.array(msa["gates"][0]["element_mean"], np.float32), gate.element_mean)
    assert msa["gates"][0]["over_images"] == gate.figures.over_images
    assert msa["predictions"][0]["confidence"] == look.trials[2].predictions[0].confidence
    assert np.array_equal(
        np.array(msa["branches"][1]["strength"], np.float32), look.trials[2].branches[1].strength
    )

    less = replace(look, trials=look.trials[:1])
    write_look(copy, less)
    assert not (folder / "msa").exists()
    assert (folder / "baseline/seed-0/features-block1.png").is_file()


def test_two_looks_at_one_tree_write_the_same(look, copy):
    look = replace(look, trials=look.trials[2:3])

    def content():
        return {path: path.read_bytes() for path in copy.study("seen").look.rglob("*") if path.is_file()} | {
            0: copy.study("seen").look_html.read_bytes()
        }

    write_look(copy, look)
    first = content()
    write_look(copy, look)
    assert content() == first


def test_the_page_stands_alone_and_runs_nothing_of_a_title(look, copy):
    text = write_look(copy, look, figures=False).read_text()
    assert "default-src 'none'" in text and "img-src data:" in text
    assert "<script>document.title" not in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text
    assert text.count("<script") == 3  # the theme's, the data, the page's own
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert [one["row"] for one in data["images"]] == [image.row for image in look.images]
    for trial in data["trials"]:
        assert len(trial["says"]) == 5
        assert all(len(layer["maps"]) == len(layer["heat"]) == 5 for layer in trial["layers"].values())
    assert len(text) < 1_500_000
