"""What comes with the tool and what it runs on: ls, init, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import Output, one_of


@app.command("ls")
def list_names(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[attention|backbones|data|studies]", help="By default all, a line each."),
    ] = None,
) -> None:
    """List what a study can name: attention, backbones, data; or the studies in this folder."""
    from ablate.spec import catalogue

    if what is None:
        typer.echo("\n\n".join(_everything()))
        return
    one_of("ls", what, ("attention", "backbones", "data", "studies"))
    if what == "studies":
        typer.echo(
            "\n".join(_studies_here()) or "no study files in studies/ or here; `ablate init` writes one"
        )
        return
    entries = {"attention": catalogue.ATTENTION, "backbones": catalogue.BACKBONES, "data": catalogue.SOURCES}[
        what
    ]
    typer.echo(catalogue.describe(entries))


def _everything() -> list[str]:
    from ablate.spec import catalogue

    parts = []
    named = {"attention": catalogue.ATTENTION, "backbones": catalogue.BACKBONES, "data": catalogue.SOURCES}
    for heading, entries in named.items():
        described = catalogue.describe(entries).splitlines()
        lines = [line for line in described if line and not line.startswith(" ")]
        parts.append(
            "\n".join(
                [f"{heading} (`ablate ls {heading}` tells their arguments)", *(f"  {line}" for line in lines)]
            )
        )
    studies = _studies_here() or ["none in studies/ or here; `ablate init` writes one"]
    return [*parts, "\n".join(["studies", *(f"  {line}" for line in studies)])]


def _studies_here() -> list[str]:
    import yaml

    lines = []
    for path in sorted([*Path("studies").glob("*.y*ml"), *Path().glob("*.y*ml")]):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(document, dict) and {"name", "baseline"} <= document.keys():
            lines.append(f"{path}  {document.get('title', '')}".rstrip())
    return lines


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The study file to write.")] = Path(
        "study.yaml"
    ),
) -> None:
    """Write a starting study, with the schema that lets an editor complete and check it."""
    from ablate.spec import write_starter

    study, schema = write_starter(path)
    typer.echo(f"wrote {study} (edit it) and {schema} (for your editor)")
    typer.echo(f"next: ablate validate {study} && ablate plan {study} && ablate run {study}")


@app.command()
def doctor(output: Output = Path("results")) -> None:
    """Print versions, devices, threads, disk, and where data and results lie; say what is broken."""
    from ablate.data import cache_folder
    from ablate.doctor import render_survey, survey

    found = survey({"results": output, "data cache": cache_folder()})
    typer.echo(render_survey(found))
    raise typer.Exit(1 if found.problems else 0)
