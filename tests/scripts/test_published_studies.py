"""The studies that are published: their scopes tell the truth, and their costs are those that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ablate.spec import Study, load_study
from ablate.variants import expand

STUDIES = Path(__file__).resolve().parent.parent.parent / "studies"
FILES = sorted([*STUDIES.glob("cpu/*.yaml"), *STUDIES.glob("gpu/*.yaml")])
CIFAR10 = 50_000
# The study at full size, of which one is the reduced form.
FULL = {
    "cnn-se-cpu": "cnn-se",
    "msa-cpu": "vgg16-msa",
    "few-images-cpu": "few-images",
    "dynamic-or-static-cpu": "dynamic-or-static",
}


def train_count(study: Study, *, of: int = CIFAR10) -> int:
    return round(of * study.defaults.data.fraction * (1 - study.defaults.data.validation))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_says_what_it_can_decide(path: Path) -> None:
    study = load_study(path)
    assert study.scope and study.title and study.name == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert all(claim.say for claim in study.claims)
    assert len(study.seeds) >= 5 or (not study.seeds and "costs" in study.name)


@pytest.mark.parametrize("name", FULL)
def test_a_scope_has_the_figures_of_both_sizes(name: str) -> None:
    """Images, epochs or steps, and seeds, of the study and of the one that it stands in for."""
    small, full = load_study(STUDIES / "cpu" / f"{name}.yaml"), load_study(STUDIES / f"{FULL[name]}.yaml")
    assert len(small.seeds) == len(full.seeds)
    in_words = {5: "five", 10: "ten"}[len(small.seeds)]
    assert f"{in_words} seeds" in small.scope
    for study in (small, full):
        length = study.defaults.train.steps or study.defaults.train.epochs
        assert f"{length:,}" in small.scope
        if study.defaults.data.fraction < 1 or name != "few-images-cpu":
            assert f"{train_count(study):,}" in small.scope
    assert {claim.id for claim in small.claims} & {claim.id for claim in full.claims}


def test_the_scope_of_fine_tuning_counts_the_images_of_five_classes() -> None:
    study = load_study(STUDIES / "cpu" / "fine-tuning-cpu.yaml")
    before = study.pretraining["five classes"].settings["data.fraction"]
    assert f"{train_count(study, of=CIFAR10 // 2):,}" in study.scope
    assert f"{round(CIFAR10 / 2 * before * (1 - study.defaults.data.validation)):,}" in study.scope


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(STUDIES / "cpu")])


def test_multi_scale_attention_adds_to_vgg16_what_is_known(blank: None) -> None:
    """Five modules at r = 16 at 224×224 with 1,000 classes: 1.11 % of the parameters, 3.37 % of the MACs."""
    from ablate.trial import inspect_variant

    study = load_study(STUDIES / "cpu" / "vgg16-costs.yaml")
    assert study.defaults.data.image_size == 224
    variants = {variant.name: variant for variant in expand(study).variants}
    baseline, msa = (
        inspect_variant(variants[name].settings, (3, 224, 224), 1000) for name in ("baseline", "msa")
    )
    assert (baseline.param_count, msa.param_count - baseline.param_count) == (138_357_544, 1_529_812)
    assert msa.macs - baseline.macs == 521_151_647
    assert round(100 * 521_151_647 / baseline.macs, 2) == 3.37
    assert [level.value for level in study.sweeps[0].levels] == [4, 8, 16, 32]


def test_squeeze_and_excitation_adds_to_the_cnn_what_is_known(blank: None) -> None:
    from ablate.trial import inspect_variant

    study = load_study(STUDIES / "cpu" / "cnn-se-costs.yaml")
    variants = {variant.name: variant for variant in expand(study).variants}
    baseline, se = (inspect_variant(variants[name].settings, (3, 32, 32), 10) for name in ("baseline", "se"))
    assert (baseline.param_count, se.param_count - baseline.param_count) == (1_147_914, 2_688)
    assert baseline.macs == 11_375_616


@pytest.mark.parametrize(("function", "classes"), [("imagenet_classes", 1000), ("cifar10_classes", 10)])
def test_blank_images_have_the_classes_that_they_are_called_after(
    blank: None, function: str, classes: int
) -> None:
    import blank_images

    train, labels, test, test_labels = getattr(blank_images, function)(None)
    assert sorted(labels.tolist()) == list(range(classes)) and len(train) == classes
    assert train.shape[1:] == test.shape[1:] and train.shape[3] == 3
    assert len(test) == len(test_labels) and not (test == train[0]).all()
