"""What starts from a study file: run, plan, validate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import (
    Device,
    Exclude,
    ExecutorName,
    GpusPerTrial,
    MlflowUri,
    Only,
    Output,
    Overrides,
    RayAddress,
    Seeds,
    Slurm,
    StudyArgument,
    Track,
    executor_options,
    load,
    one_of,
    print_opening,
    read_seeds,
    read_track,
)


@app.command()
def run(
    study: StudyArgument,
    overrides: Overrides = None,
    output: Output = Path("results"),
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Workers; by default one a core or a GPU.")
    ] = None,
    device: Device = "auto",
    gpus_per_trial: GpusPerTrial = 1,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    ray_address: RayAddress = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train failed trials again.")] = False,
    force: Annotated[
        list[str] | None,
        typer.Option("--force", metavar="GLOB", help="Train these variants again (repeatable)."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Longest time for a trial."),
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Train 3, 5, 7, 10 seeds, and go on only with variants that are still open.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")] = False,
    track: Track = None,
    mlflow_uri: MlflowUri = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only failures and the report's path.")
    ] = False,
) -> None:
    """Train every variant with every seed, measure what each costs, and write the report.

    Run again, it does only what is missing.
    """
    from ablate.display import make_display, silence
    from ablate.runner import run_study

    summary = run_study(
        load(study, overrides),
        output=output,
        seeds=read_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
        jobs=jobs,
        device=device,
        executor=executor,
        executor_options=executor_options(slurm, ray_address),
        retry_failed=retry_failed,
        force=tuple(force or ()),
        fail_fast=fail_fast,
        timeout=timeout,
        until_decided=until_decided,
        gpus_per_trial=gpus_per_trial,
        dry_run=dry_run,
        track=read_track(track, mlflow_uri),
        display=make_display(quiet=quiet),
    )
    if summary.report is not None and not quiet:
        try:
            print_opening(summary.report)
        except OSError:  # nobody takes it any more; the exit code still tells how the run ended
            silence(sys.stdout)
    raise typer.Exit(summary.exit_code)


@app.command()
def plan(
    study: StudyArgument,
    overrides: Overrides = None,
    output: Output = Path("results"),
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    device: Device = "auto",
    gpus_per_trial: GpusPerTrial = 1,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
    estimate: Annotated[
        bool, typer.Option(help="Estimate the time from a few measured training steps.")
    ] = True,
) -> None:
    """List variants, parameters, MACs and trials without training."""
    from ablate import runner
    from ablate.display import Steps

    one_of("--format", format, ("text", "json"))
    with Steps() as steps:
        tell = runner.Teller(steps.note, steps.show)
        planned = runner.plan_study(
            load(study, overrides),
            output=output,
            seeds=read_seeds(seeds),
            only=tuple(only or ()),
            exclude=tuple(exclude or ()),
            device=device,
            gpus_per_trial=gpus_per_trial,
            tell=tell,
        )
        if format == "json":
            shown = json.dumps(runner.plan_json(planned), indent=2, ensure_ascii=False)
        else:
            shown = runner.plan_text(planned, estimate=estimate, tell=tell)
    typer.echo(shown)


@app.command()
def validate(study: StudyArgument, overrides: Overrides = None) -> None:
    """Check a study file without loading torch; every fault is reported in one go."""
    from ablate.spec import unsupported
    from ablate.variants import expand

    loaded = load(study, overrides)
    expansion = expand(loaded)
    controls = {control.name(loaded.baseline) for control in loaded.controls}
    variants, first = len(expansion.variants) + len(controls), len(expansion.pretraining) * len(loaded.seeds)
    before = f", after {first} of pretraining" if first else ""
    typer.echo(
        f"{study} is valid: {_count(variants, 'variant')} × {_count(len(loaded.seeds), 'seed')} = "
        f"{_count(variants * len(loaded.seeds), 'trial')}{before}; "
        "places and shapes are found by `ablate plan`"
    )
    for problem in unsupported(loaded):
        typer.echo(f"note: {problem}", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
