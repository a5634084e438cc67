"""What is known of networks from earlier commands: told again only where nothing can have changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ablate
import ablate.trial
from ablate.runner import plan_json, plan_study, recall
from ablate.runner.recall import Recall, network_key
from ablate.spec.settings import Settings

SHAPE, CLASSES = (1, 8, 8), 10


@pytest.fixture
def known(tmp_path, monkeypatch):
    """The folder of what is known, empty; the images stay cached."""
    used = Recall(tmp_path / "networks")
    monkeypatch.setattr(Recall, "usual", classmethod(lambda cls: used))
    return used.folder


@pytest.fixture
def built(monkeypatch):
    """Names of the attention of every network that is inspected."""
    names, real = [], ablate.trial.inspect_variant

    def inspect(settings, *image):
        names.append(None if settings.model.attention is None else settings.model.attention.name)
        return real(settings, *image)

    monkeypatch.setattr(ablate.trial, "inspect_variant", inspect)
    return names


def settings(**changes):
    plain = {
        "data": {"source": "digits"},
        "model": {"args": {"width": 0.5}, "attention": {"name": "se", "at": ["block2"]}},
    }
    for section, values in changes.items():
        plain[section] = {**plain.get(section, {}), **values}
    return Settings.model_validate(plain)


def key(*, shape=SHAPE, classes=CLASSES, kind="inspection", **changes):
    return network_key(kind, settings(**changes), shape, classes)


def said(plan):
    return [
        {name: variant[name] for name in ("param_count", "macs", "attention_modules", "warnings")}
        for variant in plan_json(plan)["variants"]
    ]


# A second plan


def test_a_second_plan_says_the_same_and_builds_nothing(study, root, known, built):
    first = said(plan_study(study, output=root))
    assert len(built) == 3
    assert said(plan_study(study, output=root)) == first
    assert len(built) == 3
    shutil.rmtree(known)
    assert said(plan_study(study, output=root)) == first
    assert len(built) == 6


PLAN = """
import json, sys
from ablate.runner import plan_json, plan_study, plan_text
from ablate.spec import load_study

plan = plan_study(load_study("tiny.yaml"), device="cpu")
said = [plan_json(plan), plan.environment.model_dump(mode="json"), plan_text(plan, estimate=True)]
print(json.dumps([*said, "torch" in sys.modules]))
"""


def test_a_plan_of_known_networks_loads_no_torch(make_study, tmp_path):
    make_study()
    # A copy that nobody edits between the two: a change of the package is another question.
    shutil.copytree(Path(ablate.__file__).parent, tmp_path / "ablate", ignore=shutil.ignore_patterns("*.pyc"))
    environment = {**os.environ, "ABLATE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def plan():
        command = [sys.executable, "-c", PLAN]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    (*first, loaded), (*second, loaded_again) = plan(), plan()
    assert first == second and "of training with" in first[2]
    assert (loaded, loaded_again) == (True, False)


def test_variants_that_are_one_network_are_known_as_such(make_study, root, known, monkeypatch):
    idle = "  se: {}\n  idle: {model.attention.at: ['block2', 'block[2]']}"
    study = make_study(replace=("  se: {}", idle))
    first = [text for text in plan_study(study, output=root).warnings if "are one network" in text]
    assert len(first) == 1

    def build(*_, **__):
        raise AssertionError("it is known")

    monkeypatch.setattr("ablate.trial.build_for", build)
    assert first[0] in plan_study(study, output=root).warnings


def test_the_widths_of_controls_are_known_as_well(make_study, root, known, built):
    study = make_study(replace=("analysis:", "controls: [{match: params, to: se}]\nanalysis:"))
    first = plan_study(study, output=root)
    assert len(built) > 3
    del built[:]
    assert plan_study(study, output=root).record.controls == first.record.controls
    assert built == []


# What makes it another question


@pytest.mark.parametrize(
    "other",
    [
        {"shape": (3, 8, 8)},
        {"shape": (1, 8, 9)},
        {"classes": 9},
        {"kind": "graph"},
        {"model": {"args": {"width": 0.25}}},
        {"model": {"backbone": "resnet18", "args": {}}},
        {"model": {"attention": None}},
        {"model": {"attention": {"name": "se", "at": ["block1"]}}},
        {"model": {"attention": {"name": "se", "at": ["block2"], "args": {"reduction": 4}}}},
        {"model": {"attention": {"name": "se", "at": ["block2"], "gate": "static"}}},
        {"train": {"lr": {"head": 0.1}}},
        {"train": {"stages": [{"epochs": 1, "train": ["head"]}]}},
    ],
    ids=str,
)
def test_another_network_or_another_image_is_another_question(other):
    assert key() is not None and key(**other) not in (key(), None)


def test_where_data_lie_and_what_is_in_them_is_not_asked():
    assert key(data={"root": "elsewhere", "fraction": 0.5}) == key()


@pytest.mark.parametrize("name", ["torch", "torchvision", "timm", "fvcore", "numpy"])
def test_another_version_of_a_library_is_another_question(name, monkeypatch):
    before, versions = key(), recall._libraries()
    monkeypatch.setattr(recall, "_libraries", lambda: {**versions, name: "99.0"})
    assert key() not in (before, None)


def test_another_build_of_torch_of_the_same_version_is_another_question(monkeypatch):
    before = key()
    monkeypatch.setattr("torch.version.git_version", "0" * 40)
    assert key() not in (before, None)


def test_a_variable_that_timm_or_torch_reads_is_part_of_the_question(monkeypatch):
    before = key()
    monkeypatch.setenv("TIMM_FUSED_ATTN", "0")
    assert key() not in (before, None)


def test_a_change_of_this_package_is_another_question(tmp_path, monkeypatch):
    package = tmp_path / "ablate"
    (package / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/cnn.py"):
        (package / name).write_text("WIDTH = 1\n")
    monkeypatch.setattr(ablate, "__file__", str(package / "__init__.py"))

    def now():
        recall._own_source.cache_clear()
        return key()

    try:
        first = now()
        assert now() == first
        (package / "models" / "cnn.py").write_text("WIDTH = 2\n")
        assert now() != first
    finally:
        recall._own_source.cache_clear()


# What is asked anew each time


def test_a_users_own_module_is_asked_each_time(make_study, root, tmp_path, known, monkeypatch):
    source = (
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, channels):\n"
        "        super().__init__()\n"
        "        self.more = nn.Conv2d(channels, channels, 1, groups={groups})\n"
        "    def forward(self, x):\n"
        "        return x + self.more(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    study = make_study(replace=("  se: {}", "  se: {model.attention: {name: 'own_gate:Own', at: [block2]}}"))

    def counted(groups):
        (tmp_path / "own_gate.py").write_text(source.format(groups=groups))
        sys.modules.pop("own_gate", None)
        plan = plan_study(study, output=root)
        module = plan.inspections["se"].attached[0]
        return module.channels, module.param_count

    try:
        for groups in (1, 2, 1):
            channels, count = counted(groups)
            assert count == channels * channels // groups + channels
    finally:
        sys.modules.pop("own_gate", None)
    assert len(list(known.iterdir())) == 2, "of the two variants with modules of the house"


def test_what_follows_from_a_file_or_from_a_library_under_development_is_not_kept(tmp_path, monkeypatch):
    assert key(model={"weights": str(tmp_path / "some.safetensors")}) is None
    assert key(model={"weights": "default"}) is None
    assert key(model={"weights": "pretraining:first"}) is not None, "its file is not looked at"
    assert key(model={"backbone": "nets.own:net", "args": {}}) is None
    assert key(model={"backbone": "torchvision:resnet18", "args": {}}) is not None
    monkeypatch.setattr(recall, "_libraries", lambda: None)
    assert key() is None


def test_an_editable_installation_is_told_from_another(tmp_path, monkeypatch):
    folder = tmp_path / "timm-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    recall._libraries.cache_clear()
    try:
        assert recall._libraries()["timm"] == "9.9"
        (folder / "direct_url.json").write_text('{"url": "file:///timm", "dir_info": {"editable": true}}')
        recall._libraries.cache_clear()
        assert recall._libraries() is None
    finally:
        recall._libraries.cache_clear()


def test_a_fault_is_found_each_time(make_study, root, known):
    study = make_study(replace=("at: [block2]}", "at: [block9]}"))
    for _ in range(2):
        with pytest.raises(ablate.StudyError, match="no module of the backbone matches 'block9'"):
            plan_study(study, output=root)


# The files


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"param_count": ', '"param_count": 1'),
        lambda text: "",
        lambda text: "[]",
        lambda text: '{"answer": {"macs": 1}}',
    ],
    ids=["torn", "changed", "empty", "another form", "unvouched"],
)
def test_an_entry_that_is_not_as_it_was_written_is_not_believed(study, root, known, harm):
    first = said(plan_study(study, output=root))
    for path in known.iterdir():
        path.write_text(harm(path.read_text()))
    assert said(plan_study(study, output=root)) == first


def test_an_entry_under_another_name_is_not_believed(tmp_path):
    known = Recall(tmp_path)
    known.put("a" * 64, 1)
    (tmp_path / f"{'a' * 64}.json").rename(tmp_path / f"{'b' * 64}.json")
    assert known.get("b" * 64) is None


def test_an_answer_of_an_older_form_is_asked_again(study, root, known, built):
    plan_study(study, output=root)
    variant = plan_study(study, output=root).variants[0]
    Recall(known).put(network_key("inspection", variant.settings, (1, 8, 8), 10), {"params": 3})
    assert plan_study(study, output=root).inspections["baseline"].param_count > 3
    assert len(built) == 4


def test_the_oldest_go_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(recall, "MOST_ENTRIES", 8)
    known = Recall(tmp_path)
    for number in range(9):
        known.put(f"{number}", number)
        os.utime(tmp_path / f"{number}.json", (number, number)) if number < 8 else None
    assert [known.get(f"{number}") for number in range(9)] == [None, None, 2, 3, 4, 5, 6, 7, 8]


def test_a_folder_that_takes_nothing_is_no_fault(study, root, known):
    known.write_text("a file stands here")
    assert len(plan_study(study, output=root).inspections) == 3
