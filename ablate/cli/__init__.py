"""The command line: arguments in, functions called, exit codes out. A command imports what it needs, no more.

One file for each group of commands; importing it adds them, in the order that `--help` lists them.
Exit codes: 0 done · 1 some trial failed · 2 the study or the arguments are wrong, nothing was run ·
130 interrupted.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from ablate.cli import studies, tune, trees, compare, look, bench, selftest, shipped  # isort: skip  # noqa: F401
from ablate.cli.app import Interrupted, app
from ablate.errors import AblateError, MachineError

__all__ = ["app", "main"]


def _hold_standard_streams() -> None:
    """Under `ablate … >&-` the next file to be opened would become standard output, and be written over."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _explain_crashes() -> None:
    """A user's module that breaks down below Python while a study is planned leaves the line where it did."""
    with contextlib.suppress(Exception):  # a standard error without a file, as in tests
        faulthandler.enable()


def main(args: Sequence[str] | None = None) -> Any:
    """The `ablate` command. An error of the user's is printed without a traceback."""
    _hold_standard_streams()
    _explain_crashes()
    try:
        app(args=list(args) if args is not None else None)
    except Interrupted as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except MachineError as error:
        typer.echo(f"error: {error}\n`ablate doctor` shows the whole picture.", err=True)
        sys.exit(error.exit_code)
    except AblateError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # `ablate report --format markdown | head`: the reader left, which is no fault. Python would complain
        # once more at exit, so standard output is pointed away first.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
