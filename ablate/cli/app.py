"""The application that the commands of this package join."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

import ablate
from ablate.errors import AblateError


class Interrupted(AblateError):
    """Ctrl-C, with what it cut short; typer would end a command without a word."""

    exit_code = 130


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise Interrupted(str(interrupt) or "interrupted") from None


app = typer.Typer(
    name="ablate",
    cls=_Commands,
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
