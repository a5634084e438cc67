"""Two variants, two studies or two results trees side by side: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import Output, one_of

_SIDE = "VARIANT, STUDY/VARIANT, STUDY, or a folder: a results tree, a study's, or DIR/STUDY/VARIANT."


@app.command()
def compare(
    of: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    against: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    study: Annotated[
        str | None,
        typer.Option("--study", metavar="NAME", help="Of the variants; default: the one run last."),
    ] = None,
    output: Output = Path("results"),
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Compare two variants, two studies or two results trees, with the statistics of a report.

    Exits with 0 when both sides were compared, 1 when one has no finished run, 2 when one is not there.
    """
    from ablate.compare import compare_sides, find_sides, render_json, render_text

    one_of("--format", format, ("text", "json"))
    found = compare_sides(*find_sides(of, against, output=output, study=study))
    typer.echo(render_text(found) if format == "text" else render_json(found), nl=format == "text")
    raise typer.Exit(found.exit_code)
