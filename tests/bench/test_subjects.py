"""What `ablate bench` measures: networks by name, variants of a study, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ablate.bench import network_subjects, with_baseline
from ablate.errors import AblateError
from ablate.measure import count_macs


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("torchvision:resnet18", 1_814_073_344),
        ("torchvision:vgg16", 15_470_264_320),
        (
            "timm:vit_tiny_patch16_224",  # patches, twelve blocks with both products of their attention, head
            196 * 768 * 192 + 12 * (197 * 192 * (576 + 192 + 2 * 768) + 2 * 197**2 * 192) + 192 * 1000,
        ),
    ],
)
def test_known_macs_of_the_networks_that_bench_builds(name, macs):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    [subject] = network_subjects([name], (3, 224, 224), 1000)
    with torch.device("meta"):
        network = subject.build()
    assert count_macs(network, subject.image_shape).total == macs  # 1,253,683,200 of the transformer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "32x32"], "'32x32' is not of the form CxHxW, e.g. 3x224x224"),
        (["--dtype", "int8"], "'int8' is not one of fp32, bf16, fp16"),
        (["--compare", "cnn", "vgg"], "--compare: nothing here is called 'vgg'; there is: cnn"),
        (["--format", "yaml"], "'yaml' is not one of text, json"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(
    ablate, folder, monkeypatch, arguments, said
):
    monkeypatch.setattr("ablate.bench.session.footprint", lambda *_: pytest.fail("it was measured"))
    code, _, err = ablate("bench", "cnn", "--device", "cpu", *arguments)
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_a_network_that_is_none_is_said(ablate, folder):
    code, _, err = ablate("bench", "torchvision:resnet17", "--device", "cpu")
    assert code == 2
    assert "resnet17" in err and "resnet18" in err


def test_the_baseline_is_measured_with_whatever_was_chosen(ablate, folder, monkeypatch):
    """First, so that what costs the same goes by its name. Where modules are listed, it is not."""
    measured = []

    def stop(subjects, conditions, *, pairs, **_):
        measured.append(([subject.name for subject in subjects], pairs))
        raise AblateError("enough")

    monkeypatch.setattr("ablate.bench.measure", stop)
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text.replace("variants:\n", "variants:\n  again: {model.attention: null}\n"))
    for chosen in (["--only", "se"], ["--exclude", "baseline"], ["--only", "again"]):
        assert ablate("bench", "tiny.yaml", "--device", "cpu", *chosen)[0] == 2
    with_se = (["baseline", "se"], (("se", "baseline"),))
    assert measured == [with_se, with_se, (["baseline"], ())]
    code, out, _ = ablate("bench", "tiny.yaml", "--device", "cpu", "--only", "se", "--modules")
    assert code == 0
    assert "baseline" not in out


def test_everyone_is_compared_with_the_baseline_where_it_is_measured():
    subjects = network_subjects(["a", "b", "c"], (3, 8, 8), 2)
    assert with_baseline(subjects, "b", [("c", "a")]) == (("c", "a"), ("a", "b"), ("c", "b"))
    assert with_baseline(subjects, "elsewhere") == ()
