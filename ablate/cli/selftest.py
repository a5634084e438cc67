"""Are the statistics as good as they say? selftest."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import one_of


@app.command()
def selftest(
    replicates: Annotated[
        int | None,
        typer.Option(
            "--replicates", min=200, metavar="N", help="Studies simulated for each figure; 20,000 by default."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few hundred replicates; limits widened by what chance does.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Processes; by default one a core.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random numbers.")] = 0,
    control: Annotated[
        str | None,
        typer.Option("--control", metavar="NAME", help="Try a procedure known to err (peeking): it fails."),
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Simulate how often verdicts err and intervals cover, and hold the figures against their limits.

    Exit code 1 when a limit is broken, or when a control that must break one does not.
    """
    from ablate import selftest as selftests
    from ablate.environment import available_cores

    one_of("--format", format, ("text", "json"))
    if control is not None:
        one_of("--control", control, tuple(selftests.CONTROLS))
    if replicates is None:
        replicates = selftests.QUICK_REPLICATES if quick else selftests.FULL_REPLICATES
    found = selftests.run_selftest(
        replicates=replicates,
        seed=seed,
        jobs=jobs or available_cores(),
        control=control,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if format == "json":
        typer.echo(json.dumps(selftests.selftest_json(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(selftests.selftest_text(found))
    raise typer.Exit(0 if found.passed else 1)


def _progress(done: int, pieces: int) -> None:
    end = "\n" if done == pieces else "\r"
    typer.echo(f"simulated {100 * done // pieces:3} %{end}", err=True, nl=False)
