"""Write the table of docs/attaching.md: on which networks attention attaches, where, and at what cost.

    python scripts/attach_table.py

The rows are those of tests/models/networks.csv; everything runs on the meta device, so nothing is downloaded.
"""

from __future__ import annotations

import csv
import platform
from pathlib import Path

import timm
import torch
import torchvision

from ablate.models import Network, PlaceError, attach_attention, build_attention, build_backbone

REPOSITORY = Path(__file__).resolve().parent.parent
NETWORKS = REPOSITORY / "tests/models/networks.csv"
DOCUMENT = REPOSITORY / "docs/attaching.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
CLASSES = 1000
REDUCTION = 16


def main() -> None:
    torch.set_num_threads(1)
    with NETWORKS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    attached, refused = [], []
    for row in rows:
        try:
            attached.append(attached_line(row))
        except PlaceError as error:
            refused.append(refused_line(row, error))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join([BEGIN, "", *header(attached), *attached, "", *refusals(refused), "", END])
    DOCUMENT.write_text(before + table + after, encoding="utf-8")
    print(f"{len(attached)} attached and {len(refused)} refused, in {DOCUMENT.relative_to(REPOSITORY)}")


def header(attached: list[str]) -> list[str]:
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__},"
        f" torchvision {torchvision.__version__}, timm {timm.__version__}"
    )
    return [
        f"{len(attached)} networks, built with {versions}, for {CLASSES} classes; reduction={REDUCTION}:",
        "",
        "| network | place | at | image | modules | channels | parameters without | `se` adds | `msa` adds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]


def refusals(lines: list[str]) -> list[str]:
    return [
        "Refused, with the first line of the message:",
        "",
        "| network | place | at | reason |",
        "|---|---|---|---|",
        *lines,
    ]


def attached_line(row: dict[str, str]) -> str:
    with torch.device("meta"):
        backbone = build_backbone(row["network"], classes=CLASSES, image_shape=image_shape(row), args={})
        without = sum(parameter.numel() for parameter in backbone.parameters())
        added = {}
        for mechanism in ("se", "msa"):
            network = attach(row, backbone, mechanism)
            channels = sorted({module.channels for module in network.attached})
            modules = len(network.attached)
            added[mechanism] = sum(module.param_count for module in network.attached)
            network.detach_attention()
    width = f"{channels[0]}" if len(channels) == 1 else f"{channels[0]}–{channels[-1]}"
    figures = [
        row["image_size"],
        str(modules),
        width,
        *(f"{count:,}" for count in (without, added["se"], added["msa"])),
    ]
    return f"| {where(row)} | {' | '.join(figures)} |"


def attach(row: dict[str, str], backbone: torch.nn.Module, mechanism: str) -> Network:
    return attach_attention(
        backbone,
        [row["at"]],
        lambda place: build_attention(mechanism, place.channels, {"reduction": REDUCTION}),
        image_shape=image_shape(row),
        seed=0,
        place=row["place"],
    )


def refused_line(row: dict[str, str], error: PlaceError) -> str:
    return f"| {where(row)} | {str(error).splitlines()[0]} |"


def image_shape(row: dict[str, str]) -> tuple[int, int, int]:
    return 3, int(row["image_size"]), int(row["image_size"])


def where(row: dict[str, str]) -> str:
    return f"`{row['network']}` | `{row['place']}` | `{row['at']}`"


if __name__ == "__main__":
    main()
