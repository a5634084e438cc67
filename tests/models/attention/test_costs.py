"""The closed forms of docs/mechanisms.md, held against the modules and against both counters of MACs."""

import re
from pathlib import Path

import pytest
import torch

from ablate.measure import count_macs, count_parameters
from ablate.models.attention import MECHANISMS, build_attention
from ablate.models.attention.eca import adaptive_kernel
from ablate.spec.catalogue import ATTENTION

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "mechanisms.md"
CELLS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
ABOUT = {row[0].strip("`"): row for row in CELLS if len(row) == 5}
COSTS = [row for row in CELLS if len(row) == 4]
EXTRA = {"deformable": {"deformable": True}, "learned": {"position": "learned"}}
EXTRA["relative"] = {"position": "relative"}

# Where every ratio and every number of parts divides the channels; and where none does
EVEN = {"se": {}, "cbam": {"kernel": 5}, "linear": {"dim": 16}, "axial": {"dim": 16, "heads": 2}}
MAPS = [(64, 6, 5), (128, 3, 7), (40, 4, 1)]


def symbols(name, args, channels, height, width):
    """The letters of the table for one mechanism on one map, computed here."""
    full = {key: argument.default for key, argument in ATTENTION[name].args.items()} | args
    d = full.get("dim") or channels

    def parts(wanted, whole):
        return max(n for n in range(1, min(wanted, whole) + 1) if whole % n == 0)

    return {
        "max": max,
        "C": channels,
        "H": height,
        "W": width,
        "N": height * width,
        "r": full.get("reduction"),
        "d": d,
        "h": parts(full["heads"], d) if "heads" in full else None,
        "k": full.get("kernel") or adaptive_kernel(channels),
        "G": parts(full["groups"], channels) if "groups" in full else None,
        "n": full.get("branches"),
    }


def value(cell, known):
    return eval(cell.strip("`"), {"__builtins__": {}}, known)  # our own document


@pytest.mark.parametrize("map_shape", MAPS, ids=str)
@pytest.mark.parametrize("row", COSTS, ids=lambda row: row[0])
def test_closed_forms(row, map_shape):
    name, _, variety = re.fullmatch(r"`([\w-]+)`( (\w+))?", row[0]).groups()
    args = EVEN.get(name, {}) | EXTRA.get(variety, {})
    known = symbols(name, args, *map_shape)
    if row[1]:
        known["m"] = value(row[1], known)
    with torch.device("meta"):
        module = build_attention(name, map_shape[0], args, map_shape=map_shape[1:])
    assert count_parameters(module) == value(row[2], known)
    assert count_macs(module, map_shape).total == value(row[3], known)


def test_the_document_knows_every_mechanism_its_arguments_and_whether_it_gates():
    assert {row[0].split()[0].strip("`") for row in COSTS} == set(MECHANISMS)
    assert set(MECHANISMS) == set(ABOUT) - {"timm:NAME", "package.module:Class"}
    for name, mechanism in MECHANISMS.items():
        assert set(re.findall(r"`(\w+)`", ABOUT[name][3])) == set(ATTENTION[name].args)
        assert ABOUT[name][4] == ("yes" if getattr(mechanism, "gates", ()) else "no")
