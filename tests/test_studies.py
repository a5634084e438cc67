"""Every study that is shipped holds: it plans at full size and runs in short, all without a network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ablate.runner import Plan, plan_study, run_study
from ablate.spec import load_study
from ablate.store import Store

STUDIES = Path(__file__).resolve().parent.parent / "studies"
FILES = sorted(STUDIES.glob("*.yaml"))
NAMES = [path.stem for path in FILES]
SHIPPED_DATA = ("digits", "fashion-mini")
# Its nineteen networks of 134 million parameters take longer to plan than all other studies together.
LARGE = ("vgg16-msa",)
SHRUNK = {"epochs": 1, "steps": 1, "warmup": 0.5}

# What is run of each study beside its baseline, and what makes its network small. Whatever else a study says
# (its places, stages, rates, gates, pretraining) stays.
SMALL_CNN = ("model.args={width: 0.125}",)
SMALL_VGG = ("model.args={width: 0.0625}", "data.image_size=32", "data.augment={crop: 2, flip: true}")
SHORT: dict[str, tuple[str, tuple[str, ...]]] = {
    "cnn-se": ("se", SMALL_CNN),
    "dynamic-or-static": ("cbam shuffled", SMALL_CNN),
    "few-images": ("msa", SMALL_CNN),
    "fine-tuning": ("three stages", SMALL_CNN),
    "mechanisms": ("msa deformable", SMALL_CNN),
    "msa": ("msa", SMALL_CNN),
    "resnet18-cbam": (
        "cbam before the addition",
        ("model.args={width: 0.125}", "data.image_size=32", "data.augment={crop: 2, flip: true}"),
    ),
    "vgg16-cbam": ("cbam", SMALL_VGG),
    "vgg16-msa": ("progressive", SMALL_VGG),
}


@pytest.fixture(scope="session")
def colour_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of what CIFAR-10 has, ten classes of 32×32 in colour, but 20 images each; a cache apart."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 2)):
        for label in range(10):
            folder = root / part / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("ABLATE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield root
    patch.undo()


def _offline(name: str, images: Path) -> list[str]:
    """Overrides that put data at hand in place of a download, and fresh weights in that of torchvision's."""
    defaults = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]
    own = defaults["data"]["source"] in SHIPPED_DATA
    data = [] if own else ["data.source=image-folder", f"data.root={images}"]
    return data + (["model.weights=null"] if defaults["model"].get("weights") == "default" else [])


@pytest.fixture(scope="session")
def planned(
    colour_images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Plan, list[str]]]:
    """name -> the plan of that study at full size, on the meta device, and Python's warnings meanwhile."""
    found: dict[str, tuple[Plan, list[str]]] = {}
    root = tmp_path_factory.mktemp("plans")

    def plan(name: str) -> tuple[Plan, list[str]]:
        if name not in found:
            study = load_study(STUDIES / f"{name}.yaml", _offline(name, colour_images))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found[name] = plan_study(study, output=root, device="cpu"), [str(w.message) for w in caught]
        return found[name]

    return plan


def _param_counts(plan: Plan) -> dict[str, int]:
    return {name: inspection.param_count for name, inspection in plan.inspections.items()}


def _channels(plan: Plan, variant: str) -> dict[str, int]:
    return {module.path: module.channels for module in plan.inspections[variant].attached}


def test_there_is_a_short_run_for_every_study_that_is_shipped() -> None:
    assert sorted(SHORT) == NAMES


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in NAMES]
)
def test_a_study_plans_and_nothing_in_it_is_idle(
    name: str, planned: Callable[[str], tuple[Plan, list[str]]]
) -> None:
    """A glob that names nothing, a control out of reach or a place without a map would be an error here."""
    plan, caught = planned(name)
    assert len(plan.record.seeds) >= 5, "the fewest that yield a verdict"
    assert all(trial.wanted for trial in plan.distinct)
    idle = [warning for warning in plan.warnings if "are one network" in warning or "not trained" in warning]
    assert not idle
    assert not [message for message in caught if "ablate" in message]
    with_attention = [name for name, found in plan.inspections.items() if found.attached]
    assert with_attention or plan.study.defaults.model.attention is None


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_names_variants_and_a_source(name: str) -> None:
    """`validate` checks the names; a claim without its sentence would be a number nobody can read."""
    study = load_study(STUDIES / f"{name}.yaml")
    text = (STUDIES / f"{name}.yaml").read_text(encoding="utf-8")
    assert study.title and text.startswith("# ")
    assert all(claim.say for claim in study.claims)
    assert len({claim.id for claim in study.claims}) == len(study.claims)


# Known answers: SEED_SYSTEMS' counts, by their closed forms


def _linear_difference(features: int) -> int:
    """Parameters that a last layer of `features` inputs has fewer for 10 classes than for 1000."""
    return (1000 - 10) * (features + 1)


def test_cnn_se_is_the_network_of_the_source(planned: Callable[[str], tuple[Plan, list[str]]]) -> None:
    plan, _ = planned("cnn-se")
    counts = _param_counts(plan)
    assert (counts["baseline"], counts["se"]) == (1_147_914, 1_150_602)
    assert counts["se"] - counts["baseline"] == sum(2 * c * (c // 16) for c in (32, 64, 128))
    assert plan.inspections["baseline"].macs == 11_375_616
    assert _channels(plan, "se") == {"block1.relu": 32, "block2.relu": 64, "block3.relu": 128}


def test_resnet18_cbam_has_eight_modules(planned: Callable[[str], tuple[Plan, list[str]]]) -> None:
    plan, _ = planned("resnet18-cbam")
    counts = _param_counts(plan)
    assert counts["baseline"] == 11_689_512 - _linear_difference(512)
    assert counts["cbam"] == 11_777_336 - _linear_difference(512)
    assert counts["cbam before the addition"] == counts["cbam"]
    assert _channels(plan, "cbam") == {
        f"layer{stage}.{block}": 32 * 2**stage for stage in (1, 2, 3, 4) for block in (0, 1)
    }
    assert _channels(plan, "cbam before the addition") == {
        f"{path}.bn2": channels for path, channels in _channels(plan, "cbam").items()
    }


def test_vgg16_cbam_sits_after_the_pools(planned: Callable[[str], tuple[Plan, list[str]]]) -> None:
    plan, _ = planned("vgg16-cbam")
    counts = _param_counts(plan)
    assert counts["baseline"] == 138_357_544 - _linear_difference(4096)
    assert counts["cbam"] == 138_401_456 - _linear_difference(4096)
    assert counts["cbam after all five"] == 138_434_322 - _linear_difference(4096)
    assert _channels(plan, "cbam after all five") == {
        "features.4": 64,
        "features.9": 128,
        "features.16": 256,
        "features.23": 512,
        "features.30": 512,
    }


def test_vgg16_msa_has_five_modules_wherever_the_source_has_five(colour_images: Path) -> None:
    from ablate.trial import inspect_variant
    from ablate.variants import expand

    study = load_study(STUDIES / "vgg16-msa.yaml", _offline("vgg16-msa", colour_images))
    variants = {variant.name: variant for variant in expand(study).variants}
    found = {
        name: inspect_variant(variants[name].settings, (3, 64, 64), 10)
        for name in ("baseline", "msa", "msa at=relus", "msa at=as-inserted", "msa reduction=4")
    }
    assert found["baseline"].param_count == 138_357_544 - _linear_difference(4096)
    of_channels = {64: 10_532, 128: 41_396, 256: 164_564, 512: 656_660}
    for name, paths in (("msa", (4, 9, 16, 23, 30)), ("msa at=relus", (3, 8, 15, 22, 29))):
        assert [(m.path, m.channels, m.param_count) for m in found[name].attached] == [
            (f"features.{number}", channels, of_channels[channels])
            for number, channels in zip(paths, (64, 128, 256, 512, 512), strict=True)
        ]
        assert found[name].param_count - found["baseline"].param_count == 1_529_812
    assert [m.channels for m in found["msa at=as-inserted"].attached] == [64, 128, 256]
    assert found["msa reduction=4"].attached[-1].param_count == 2_623_124


def test_few_images_takes_as_many_steps_at_every_fraction() -> None:
    study = load_study(STUDIES / "few-images.yaml")
    kept = round(50_000 * (1 - study.defaults.data.validation))
    assert study.defaults.train.steps == 20 * -(-kept // study.defaults.train.batch_size)
    assert study.defaults.train.schedule.name != "plateau", "the same schedule whatever the validation loss"


def test_fine_tuning_takes_as_many_epochs_every_way() -> None:
    from ablate.variants import expand

    expansion = expand(load_study(STUDIES / "fine-tuning.yaml"))
    epochs = {
        variant.name: sum(stage.epochs for stage in variant.settings.train.stages)
        or variant.settings.train.epochs
        for variant in expansion.variants
    }
    assert len(epochs) == 4 and set(epochs.values()) == {30}
    [pretraining] = expansion.pretraining
    tuned = {tuple(variant.settings.data.classes or ()) for variant in expansion.variants}
    assert tuned == {(5, 6, 7, 8, 9)}
    assert not set(pretraining.settings.data.classes or ()) & set(*tuned)


# One short trial


def _shrunk(value: Any, key: str = "") -> Any:
    """The same settings with one epoch, or step, in place of many; globs and rates stay as shipped."""
    if isinstance(value, dict):
        return {inner: _shrunk(found, inner) for inner, found in value.items()}
    if isinstance(value, list):
        return [_shrunk(found, key) for found in value]
    return SHRUNK.get(key.removeprefix("train."), value)


def _short(name: str, images: Path) -> list[str]:
    """Overrides for a run of seconds, built from what the study says."""
    data = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
    train = {f"train.{key}": value for key, value in _shrunk(data["defaults"]["train"]).items()}
    # Its other variants would only be inspected, which takes longer than the two trials.
    wanted = [data["baseline"], SHORT[name][0]]
    wanted += [spec["extends"] for spec in map(data["variants"].get, wanted) if "extends" in spec]
    kept = {"variants": _shrunk({each: data["variants"][each] for each in wanted})}
    kept |= {"pretraining": _shrunk(data["pretraining"])} if "pretraining" in data else {}
    return [
        *_offline(name, images),
        *SHORT[name][1],
        f"data.fraction={0.1 if data['defaults']['data']['source'] in SHIPPED_DATA else 1}",
        *(f"{key}={json.dumps(value)}" for key, value in {**train, **kept}.items()),
        *(f"{key}=[]" for key in ("sweeps", "designs", "controls", "claims")),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_one_short_trial_of_a_study_runs(
    name: str, colour_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})  # slower than all else
    study = load_study(STUDIES / f"{name}.yaml", _short(name, colour_images))
    variant, _ = SHORT[name]
    assert variant in study.variants
    summary = run_study(
        study, output=tmp_path, seeds=[0], only=[study.baseline, variant], device="cpu", executor="inline"
    )
    assert (summary.exit_code, summary.failed) == (0, 0), summary.message
    store = Store(tmp_path)
    plan = store.read_plan(study.name)
    assert plan is not None
    for each in (study.baseline, variant):
        [found] = [known for known in plan.variants if known.name == each]
        record = store.read_trial(found.trials[0])
        assert record is not None and record.status == "done"
        assert record.metrics is not None and 0 <= record.metrics.accuracy <= 100
        stages = len(study.variants[each].settings.get("train.stages", study.defaults.train.stages))
        assert len(store.read_epochs(record.id)) == max(1, stages), "one epoch, or one of each stage"
    assert summary.report is not None and variant in summary.report.read_text(encoding="utf-8")
