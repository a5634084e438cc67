"""The table of modules, whose rows sum to the totals."""

from __future__ import annotations

import json

import pytest

CNN = ("cnn", "--image", "3x32x32", "--classes", "10")


@pytest.mark.parametrize("depth", [(), ("--depth", "1"), ("--depth", "2"), ("--depth", "3")])
def test_the_rows_sum_to_the_counts_of_the_network(ablate, folder, depth):
    code, out, err = ablate("bench", *CNN, "--modules", *depth, "--format", "json")
    assert code == 0, err
    found = json.loads(out)["cnn"]
    for cost, total in {"param_count": 1_147_914, "macs": 11_375_616, "activations": 57_866}.items():
        assert sum(row[cost] for row in found["rows"]) == found[cost] == total
    if depth:
        assert max(row["path"].count(".") for row in found["rows"]) < int(depth[1])


def test_the_text_gives_shares_of_the_total(ablate, folder):
    code, out, err = ablate("bench", *CNN, "--depth", "2")
    assert code == 0, err
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["backbone.head"][2:] == ["1,054,218", "91.84", "1,053,696", "9.26", "522", "0.90"]
    assert rows["sum"][1:] == ["1,147,914", "100.00", "11,375,616", "100.00", "57,866", "100.00"]


def test_a_residual_network_sums_too(ablate, folder):
    code, out, err = ablate("bench", "torchvision:resnet18", "--depth", "2", "--format", "json")
    assert code == 0, err
    found = json.loads(out)["torchvision:resnet18"]
    assert (found["macs"], found["param_count"]) == (1_814_073_344, 11_689_512)
    assert sum(row["macs"] for row in found["rows"]) == 1_814_073_344
    of_layer2 = next(row for row in found["rows"] if row["path"] == "backbone.layer2")
    first, others = 28**2 * 9 * 128 * (64 + 128) + 28**2 * 64 * 128, 2 * 28**2 * 9 * 128**2
    assert of_layer2["macs"] == first + others


def test_modules_of_a_study_are_those_of_its_variants_and_nothing_is_written(ablate, folder):
    code, out, err = ablate("bench", "tiny.yaml", "--modules", "--device", "cpu", "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"baseline", "se"}
    assert any(row["path"].startswith("attention.block2") for row in found["se"]["rows"])
    assert not (folder / "results").exists()
