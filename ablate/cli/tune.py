"""`ablate tune`: a search over what a study's section `tune` says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import (
    Device,
    ExecutorName,
    MlflowUri,
    Output,
    Overrides,
    RayAddress,
    Slurm,
    StudyArgument,
    Track,
    executor_options,
    load,
    print_opening,
    read_seeds,
    read_track,
)


@app.command()
def tune(
    study: StudyArgument,
    overrides: Overrides = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", help="Settings in all, earlier ones and others' included."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Begin no further setting after it.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="sqlite:///FILE, journal:FILE or postgresql://…; by default a file in the results tree.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Workers; by default one a core or a GPU.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", metavar="NAME", help="tpe, random, grid or nsga2.")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option("--pruner", metavar="NAME", help="none, median, halving or hyperband.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1000,1001", help="Tuning seeds, none of the study's.")
    ] = None,
    output: Output = Path("results"),
    device: Device = "auto",
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    ray_address: RayAddress = None,
    promote: Annotated[
        int | None,
        typer.Option("--promote", min=1, metavar="N", help="Then write the best N as a study of their own."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Begin settings that failed once more.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be searched, and stop.")] = False,
    track: Track = None,
    mlflow_uri: MlflowUri = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only failures and the report's path.")
    ] = False,
) -> None:
    """Search the settings that the study's section tune names, by validation accuracy on seeds of their own.

    Run again, or beside itself, it goes on with the same search until the trials asked for are done.
    """
    from ablate.display import make_display, silence
    from ablate.store import Store
    from ablate.track import track_afterwards
    from ablate.tune import promote as promote_best
    from ablate.tune import run_command, tune_study

    said = {
        "trials": trials,
        "timeout": timeout,
        "sampler": sampler,
        "pruner": pruner,
        "seeds": None if seeds is None else list(read_seeds(seeds) or ()),
    }
    given = [f"tune.{key}={value}" for key, value in said.items() if value is not None]
    loaded = load(study, [*(overrides or ()), *given])
    display, wanted = make_display(quiet=quiet), read_track(track, mlflow_uri)
    summary = tune_study(
        loaded,
        output=output,
        storage=storage,
        jobs=jobs,
        device=device,
        executor=executor,
        executor_options=executor_options(slurm, ray_address),
        retry_failed=retry_failed,
        dry_run=dry_run,
        display=display,
    )
    if summary.report is not None and summary.exit_code != 130:
        track_afterwards(Store(output), loaded.name, wanted, say=display.note)
    if promote is not None and summary.report is not None and summary.exit_code != 130:
        path = promote_best(loaded, promote, output=output, say=typer.echo)
        typer.echo(f"promoted: {path}\nnext: {run_command(loaded, path, output)}")
    if summary.report is not None and not quiet:
        try:
            print_opening(summary.report)
        except OSError:  # nobody takes it any more; the exit code still tells how the search ended
            silence(sys.stdout)
    raise typer.Exit(summary.exit_code)
