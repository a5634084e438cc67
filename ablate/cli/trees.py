"""What reads a results tree: status, logs, report, track, verify, clean."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.app import app
from ablate.cli.options import MlflowUri, Output, import_from, one_of, print_opening, read_track
from ablate.errors import AblateError


@app.command()
def status(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY|DIR]", help="By default the study run last.")
    ] = None,
    output: Output = Path("results"),
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Renew until nothing is left, or Ctrl-C.")
    ] = False,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Show which trials are done, running, failed and pending."""
    from ablate import status as states

    one_of("--format", format, ("text", "json"))
    if watch and format == "json":
        raise typer.BadParameter("--watch shows text; ask for json again and again", param_hint="--format")
    store, name = states.find_study(study, output)
    if watch:
        with contextlib.suppress(KeyboardInterrupt):  # the way out, and no fault
            states.watch_status(store, name)
    elif format == "json":
        typer.echo(json.dumps(states.status_json(store, name), indent=2, ensure_ascii=False))
    else:
        typer.echo(states.render_status(store, name))


@app.command()
def logs(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="An id or its beginning, VARIANT/SEED, or STUDY/VARIANT/SEED, e.g. se/0."
        ),
    ],
    output: Output = Path("results"),
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the trial ends, or Ctrl-C.")
    ] = False,
) -> None:
    """Print the log of a trial; of a failed one also the traceback."""
    from ablate.status import find_trial, follow_log, render_log
    from ablate.store import Store

    store = Store(output)
    trial_id = find_trial(trial, store)
    if not follow:
        typer.echo(render_log(store, trial_id), nl=False)
        return

    def write(text: str) -> None:
        typer.echo(text, nl=False)
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):
        follow_log(store, trial_id, write)


@app.command()
def report(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY|DIR]", help="By default the study run last.")
    ] = None,
    output: Output = Path("results"),
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Print one rendering (markdown, latex, html, json or csv) and write nothing.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every study in the results tree.")] = False,
) -> None:
    """Build the report of a study from what is in the results tree."""
    from ablate.report import FORMATS, render_study, write_report
    from ablate.status import find_study
    from ablate.store import Store

    if format is not None:
        one_of("--format", format, FORMATS)
    targets = (
        [(Store(output), name) for name in Store(output).studies()] if every else [find_study(study, output)]
    )
    for store, name in targets:
        if format is not None:
            sys.stdout.write(render_study(store, name, format))
        else:
            path = write_report(store, name)
            typer.echo(path)
            print_opening(path)


@app.command()
def track(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY|DIR]", help="By default the study run last.")
    ] = None,
    output: Output = Path("results"),
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="NAME", help="tensorboard or mlflow (repeatable)."),
    ] = None,
    mlflow_uri: MlflowUri = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until no trial is trained any more, or Ctrl-C.")
    ] = False,
) -> None:
    """Write the trials of a study to TensorBoard or MLflow as they stand, each point once.

    Exits with 0 when all of them are there, 1 when something could not be written.
    """
    from ablate.status import find_study
    from ablate.track import TRACKERS, track_study

    if not to:
        raise typer.BadParameter(f"name one: {', '.join(TRACKERS)}", param_hint="--to")
    wanted = read_track(to, mlflow_uri)
    store, name = find_study(study, output)
    whole = track_study(store, name, wanted.trackers(store, name), follow=follow, say=typer.echo)
    raise typer.Exit(0 if whole else 1)


@app.command()
def verify(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="An id or its beginning, VARIANT/SEED, or STUDY/VARIANT/SEED, e.g. se/0."
        ),
    ],
    output: Output = Path("results"),
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps; default: the record's."
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Train a finished trial again, apart from the results tree, and compare every bit that came of it.

    Exits with 0 when it comes out the same, 1 when it differs, 2 when it cannot be trained again.
    """
    from ablate.verify import Meter, render_verification, verify_trial

    one_of("--format", format, ("text", "json"))
    import_from(Path.cwd())
    with Meter(sys.stderr) as meter:
        found = verify_trial(trial, output=output, device=device, say=meter.say, on_progress=meter.show)
    if format == "json":
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        typer.echo(render_verification(found))
    raise typer.Exit(found.exit_code)


@app.command()
def clean(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="Only what these left behind; by default everything."),
    ] = None,
    output: Output = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and stop.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove trials and costs that no study names, and what killed runs left behind.

    To forget a study, remove its folder and clean: what it shares with no other study goes.
    """
    from ablate.clean import find_waste, readable_bytes, remove_waste, render_waste
    from ablate.store import Store

    store = Store(output)
    findings = find_waste(store, studies or ())
    typer.echo(render_waste(store, findings, every=dry_run))
    if dry_run or not findings.waste:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise AblateError("nothing was removed: there is nobody to ask here\n    say --yes, or --dry-run")
        typer.confirm("Remove all this?", abort=True)
    freed, kept = remove_waste(store, findings)
    for sentence in kept:
        typer.echo(f"kept: {sentence}")
    typer.echo(f"removed {readable_bytes(freed)}")
