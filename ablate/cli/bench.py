"""What networks cost, without training: bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import Device, Exclude, Only, Output, import_from, load, one_of


@app.command()
def bench(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY [KEY=VALUE]... | NETWORK...",
            help="A study file, or networks such as cnn, torchvision:resnet18, timm:vit_tiny_patch16_224.",
        ),
    ],
    output: Output = Path("results"),
    only: Only = None,
    exclude: Exclude = None,
    image: Annotated[
        str, typer.Option("--image", metavar="CxHxW", help="The image of networks.")
    ] = "3x224x224",
    classes: Annotated[int, typer.Option("--classes", min=1, help="Classes of networks.")] = 1000,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="A B", help="The ratio of two latencies.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="ABBA rounds, the replicates.")] = 10,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of torch, on the CPU.")] = 1,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Of the throughput; by default found.")
    ] = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="fp32, bf16 or fp16.")] = "fp32",
    modules: Annotated[
        bool, typer.Option("--modules", help="Instead, what each module has of the counts.")
    ] = False,
    depth: Annotated[
        int | None, typer.Option("--depth", min=1, help="The same, modules no deeper than this.")
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Measure what networks cost, without training: counts, memory, latency.

    Every variant of a study leaves a cost record for this machine, and is compared with the baseline.
    """
    from ablate import bench as benches
    from ablate import runner

    one_of("--format", format, ("text", "json"))
    one_of("--dtype", dtype, benches.DTYPES)
    pairs: Sequence[tuple[str, str]] = [] if compare is None else [compare]
    planned, baseline, by_module = None, None, modules or depth is not None
    if Path(what[0]).suffix in (".yaml", ".yml"):
        planned = runner.plan_study(
            load(Path(what[0]), what[1:]),
            output=output,
            only=only or (),
            exclude=exclude or (),
            device=device,
        )
        baseline = planned.study.baseline
        subjects = benches.study_subjects(
            benches.beside_baseline(planned.variants, planned.chosen, None if by_module else baseline),
            planned.images,
            {variant.name: variant.cost_id for variant in planned.record.variants},
        )
        pairs = benches.with_baseline(subjects, baseline, pairs)
    else:
        import_from(Path.cwd())
        subjects = benches.network_subjects(what, _image_shape(image), classes)
    if by_module:
        tables = benches.module_tables(subjects, depth)
        shown = (
            benches.modules_text(tables)
            if format == "text"
            else json.dumps(benches.modules_json(tables), indent=2)
        )
        typer.echo(shown)
        return
    if planned is not None:
        planned.store.prepare()
    conditions = benches.Conditions(device, dtype, threads, rounds, batch)
    found = benches.measure(subjects, conditions, pairs=pairs, say=lambda text: typer.echo(text, err=True))
    if planned is not None:
        benches.write_costs(planned.store, found, subjects)
    shown = (
        benches.bench_text(found, baseline)
        if format == "text"
        else json.dumps(benches.bench_json(found), indent=2)
    )
    typer.echo(shown)


def _image_shape(text: str) -> tuple[int, int, int]:
    sizes = text.lower().replace("×", "x").split("x")
    if len(sizes) != 3 or not all(size.isascii() and size.isdigit() and 0 < len(size) < 6 for size in sizes):
        raise typer.BadParameter(f"{text!r} is not of the form CxHxW, e.g. 3x224x224", param_hint="--image")
    channels, height, width = map(int, sizes)
    return channels, height, width
