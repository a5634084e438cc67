"""The command line: arguments in, functions called, exit codes out. A command imports what it needs, no more.

Exit codes: 0 done · 1 some trial failed · 2 the study or the arguments are wrong, nothing was run ·
130 interrupted.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ablate
from ablate.errors import AblateError, MachineError

if TYPE_CHECKING:
    from ablate.spec import Study

app = typer.Typer(
    name="ablate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ablation studies for PyTorch vision models: did the part earn its cost, and how sure are we?",
)

StudyArgument = Annotated[
    Path, typer.Argument(metavar="STUDY", help="The study file, e.g. studies/msa.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to replace, e.g. train.epochs=2 seeds=3."),
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Root of the results tree.")]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="GLOB", help="Only variants so named (repeatable).")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="All variants but these (repeatable).")
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="0,1,2", help="Train these seeds only; the plan keeps the study's."),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]


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


def _load(path: Path, overrides: Sequence[str] | None) -> Study:
    from ablate.spec import load_study

    _import_from(path.absolute().parent, Path.cwd())
    return load_study(path, overrides or ())


def _import_from(*folders: Path) -> None:
    """A study may name `package.module:name` beside it or in the working directory.

    They come last on the path, so that no file there hides a library; workers take the path over.
    """
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 0,1,2", param_hint="--seeds")
    return tuple(dict.fromkeys(int(word) for word in words))


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
    executor: Annotated[str, typer.Option("--executor", metavar="NAME", help="local or inline.")] = "local",
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")] = False,
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
        _load(study, overrides),
        output=output,
        seeds=_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
        jobs=jobs,
        device=device,
        executor=executor,
        retry_failed=retry_failed,
        force=tuple(force or ()),
        fail_fast=fail_fast,
        timeout=timeout,
        dry_run=dry_run,
        display=make_display(quiet=quiet),
    )
    if summary.report is not None and not quiet:
        try:
            _opening(summary.report)
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
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
    estimate: Annotated[
        bool, typer.Option(help="Measure one training step a variant to estimate the time.")
    ] = True,
) -> None:
    """List variants, parameters, MACs and trials without training."""
    from ablate import runner

    _one_of("--format", format, ("text", "json"))
    planned = runner.plan_study(
        _load(study, overrides),
        output=output,
        seeds=_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
        device=device,
        say=lambda text: typer.echo(f"note: {text}", err=True),
    )
    if format == "json":
        typer.echo(json.dumps(runner.plan_json(planned), indent=2, ensure_ascii=False))
    else:
        typer.echo(runner.plan_text(planned, estimate=estimate))


@app.command()
def validate(study: StudyArgument, overrides: Overrides = None) -> None:
    """Check a study file without loading torch; every fault is reported in one go."""
    from ablate.spec import unsupported
    from ablate.variants import expand

    loaded = _load(study, overrides)
    expansion = expand(loaded)
    controls = {control.name(loaded.baseline) for control in loaded.controls}
    variants, first = len(expansion.variants) + len(controls), len(expansion.pretraining) * len(loaded.seeds)
    before = f", after {first} of pretraining" if first else ""
    typer.echo(
        f"{study} is valid: {variants} variants × {len(loaded.seeds)} seeds = "
        f"{variants * len(loaded.seeds)} trials{before}; places and shapes are found by `ablate plan`"
    )
    for problem in unsupported(loaded):
        typer.echo(f"note: {problem}", err=True)


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

    _one_of("--format", format, ("text", "json"))
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

    _one_of("--format", format, ("text", "json"))
    _import_from(Path.cwd())
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


@app.command()
def report(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY|DIR]", help="By default the study run last.")
    ] = None,
    output: Output = Path("results"),
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="Print one rendering (markdown, json or csv) and write nothing."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every study in the results tree.")] = False,
) -> None:
    """Build the report of a study from what is in the results tree."""
    from ablate.report import render_study, write_report
    from ablate.status import find_study
    from ablate.store import Store

    if format is not None:
        _one_of("--format", format, ("markdown", "json", "csv"))
    targets = (
        [(Store(output), name) for name in Store(output).studies()] if every else [find_study(study, output)]
    )
    for store, name in targets:
        if format is not None:
            sys.stdout.write(render_study(store, name, format))
        else:
            path = write_report(store, name)
            typer.echo(path)
            _opening(path)


def _opening(report: Path) -> None:
    """The answer: what stands in the report before its first section."""
    typer.echo("\n" + report.read_text(encoding="utf-8").partition("\n## ")[0].strip())


@app.command()
def bench(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY [KEY=VALUE]... | NETWORK...",
            help="A study file, or networks such as cnn, torchvision:resnet18, timm:vit_tiny_patch16_224.",
        ),
    ],
    output: Output = Path("results"),
    only: Only = None,
    exclude: Exclude = None,
    image: Annotated[
        str, typer.Option("--image", metavar="CxHxW", help="The image of networks.")
    ] = "3x224x224",
    classes: Annotated[int, typer.Option("--classes", min=1, help="Classes of networks.")] = 1000,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="A B", help="The ratio of two latencies.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="ABBA rounds, the replicates.")] = 10,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of torch, on the CPU.")] = 1,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Of the throughput; by default found.")
    ] = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="fp32, bf16 or fp16.")] = "fp32",
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Measure what networks cost, without training: counts, memory, latency.

    Every variant of a study leaves a cost record for this machine, and is compared with the baseline.
    """
    from ablate import bench as benches
    from ablate import runner

    _one_of("--format", format, ("text", "json"))
    _one_of("--dtype", dtype, benches.DTYPES)
    pairs: Sequence[tuple[str, str]] = [] if compare is None else [compare]
    planned = None
    if Path(what[0]).suffix in (".yaml", ".yml"):
        planned = runner.plan_study(
            _load(Path(what[0]), what[1:]),
            output=output,
            only=only or (),
            exclude=exclude or (),
            device=device,
        )
        chosen = {trial.variant.name for trial in planned.selected}
        subjects = benches.study_subjects(
            (variant for variant in planned.variants if variant.name in chosen),
            planned.images,
            {variant.name: variant.cost_id for variant in planned.record.variants},
        )
        pairs = benches.with_baseline(subjects, planned.study.baseline, pairs)
        planned.store.prepare()
    else:
        _import_from(Path.cwd())
        subjects = benches.network_subjects(what, _image_shape(image), classes)
    conditions = benches.Conditions(device, dtype, threads, rounds, batch)
    found = benches.measure(subjects, conditions, pairs=pairs, say=lambda text: typer.echo(text, err=True))
    if planned is not None:
        benches.write_costs(planned.store, found, subjects)
    shown = benches.bench_text(found) if format == "text" else json.dumps(benches.bench_json(found), indent=2)
    typer.echo(shown)


def _image_shape(text: str) -> tuple[int, int, int]:
    sizes = text.lower().replace("×", "x").split("x")
    if len(sizes) != 3 or not all(size.isascii() and size.isdigit() and 0 < len(size) < 6 for size in sizes):
        raise typer.BadParameter(f"{text!r} is not of the form CxHxW, e.g. 3x224x224", param_hint="--image")
    channels, height, width = map(int, sizes)
    return channels, height, width


@app.command("ls")
def list_names(
    what: Annotated[str, typer.Argument(metavar="attention|backbones|data|studies")],
) -> None:
    """List what a study can name: attention, backbones, data; or the studies in this folder."""
    from ablate.spec import catalogue

    _one_of("ls", what, ("attention", "backbones", "data", "studies"))
    if what == "studies":
        typer.echo(
            "\n".join(_studies_here()) or "no study files in studies/ or here; `ablate init` writes one"
        )
        return
    entries = {"attention": catalogue.ATTENTION, "backbones": catalogue.BACKBONES, "data": catalogue.SOURCES}[
        what
    ]
    typer.echo(catalogue.describe(entries))


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
    typer.echo(f"next: ablate validate {study} && ablate run {study}")


@app.command()
def doctor(output: Output = Path("results")) -> None:
    """Print versions, devices, threads, disk, and where data and results lie; say what is broken."""
    from ablate.data import cache_folder
    from ablate.doctor import render_survey, survey

    found = survey({"results": output, "data cache": cache_folder()})
    typer.echo(render_survey(found))
    raise typer.Exit(1 if found.problems else 0)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}", param_hint=name)


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
