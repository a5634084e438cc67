"""The application that the commands of this package join."""

from __future__ import annotations

from typing import Annotated

import typer

import ablate

app = typer.Typer(
    name="ablate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ablation studies for PyTorch vision models: did the part earn its cost, and how sure are we?",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ablate {ablate.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
