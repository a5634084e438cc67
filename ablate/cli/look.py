"""`ablate look`: what finished trials see, as figures and a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import Device, Output, import_from, read_seeds


@app.command()
def look(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY|DIR]", help="By default the study run last.")
    ] = None,
    output: Output = Path("results"),
    variants: Annotated[
        list[str] | None, typer.Option("--variants", metavar="GLOB", help="Only these (repeatable).")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,2", help="By default the study's first two.")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, max=200, help="Test images to show.")] = 10,
    classes: Annotated[
        list[str] | None,
        typer.Option("--classes", metavar="GLOB", help="Only images of these classes (repeatable)."),
    ] = None,
    wrong_first: Annotated[
        bool, typer.Option("--wrong-first", help="First the images that most trials predict wrongly.")
    ] = False,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            metavar="GLOB",
            help="Module paths, e.g. block2, attention.** (repeatable); by default where attention is.",
        ),
    ] = None,
    channels: Annotated[int, typer.Option("--channels", min=1, help="Of each layer.")] = 12,
    top: Annotated[int, typer.Option("--top", min=1, help="Channels by response, as heat.")] = 3,
    sample: Annotated[int, typer.Option("--sample", min=2, help="Test images to measure gates over.")] = 256,
    replace: Annotated[
        bool, typer.Option(help="Count predictions that change with a gate's mean in its place.")
    ] = True,
    cam: Annotated[bool | None, typer.Option(help="Class activation; needs the extra `look`.")] = None,
    cam_layer: Annotated[
        str | None, typer.Option("--cam-layer", metavar="PATH", help="By default the last map.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures in look/ beside the page.")] = True,
    device: Device = "auto",
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Show the page on this machine; one that is there, if no more is asked."
        ),
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
) -> None:
    """Look at finished trials: feature maps, gates, branches, class activation, on the same test images."""
    from ablate.look.serve import serve as serve_folder
    from ablate.status import find_study

    store, name = find_study(study, output)
    page = store.study(name).look_html
    if not (serve and page.is_file() and not _asked(context)):
        from ablate.environment import require_torch, resolve_device

        require_torch()
        from ablate.look import Wishes, look_at, write_look

        import_from(Path.cwd())
        wishes = Wishes(
            images=images,
            variants=tuple(variants or ()),
            seeds=read_seeds(seeds),
            layers=tuple(layers or ()),
            classes=tuple(classes or ()),
            channels=channels,
            top=top,
            wrong_first=wrong_first,
            sample=sample,
            replace=replace,
            cam=cam,
            cam_layer=cam_layer,
            device=resolve_device(device),
        )
        found = look_at(store, name, wishes, say=lambda text: typer.echo(text, err=True))
        if figures:
            typer.echo("drawing the figures", err=True)
        page = write_look(store, found, figures=figures)
        for note in (*found.notes, *found.left_out):
            typer.echo(f"note: {note}", err=True)
        for trial in found.trials:
            for gate in trial.gates:
                if not gate.depends:
                    typer.echo(f"{trial.name}: {gate.label}: {gate.sentence}")
        typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
    if serve:
        serve_folder(store.study(name).folder, port=port, say=_say)


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()  # whoever reads the address from a pipe waits for it


def _asked(context: typer.Context) -> bool:
    """Whether anything was said of what to look at."""
    where = {"study", "output", "serve", "port"}
    sources = (context.get_parameter_source(name) for name in context.params if name not in where)
    return any(source is not None and source.name == "COMMANDLINE" for source in sources)
