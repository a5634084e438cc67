"""What several commands share: their arguments and options, and how these are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ablate.runner.executors import ExecutorOptions
    from ablate.spec import Study
    from ablate.track import Wanted

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

GpusPerTrial = Annotated[
    int,
    typer.Option(
        "--gpus-per-trial",
        min=1,
        metavar="N",
        help="Train each trial on N GPUs (with --device cpu: in N processes), which share every batch.",
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track", metavar="NAME", help="Write the trials to tensorboard or mlflow, too (repeatable)."
    ),
]
MlflowUri = Annotated[
    str | None,
    typer.Option(
        "--mlflow-uri",
        metavar="URI",
        help="Of an MLflow server; default: MLFLOW_TRACKING_URI, or a file in the results tree.",
    ),
]
ExecutorName = Annotated[str, typer.Option("--executor", metavar="NAME", help="local, inline, ray or slurm.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Of a running Ray cluster (auto: the one that this machine is in); default: one for this run.",
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm", metavar="KEY=VALUE", help="An option of the Slurm jobs, e.g. partition=gpu (repeatable)."
    ),
]


def load(path: Path, overrides: Sequence[str] | None) -> Study:
    from ablate.spec import load_study

    import_from(path.absolute().parent, Path.cwd())
    return load_study(path, overrides or ())


def import_from(*folders: Path) -> None:
    """A study may name `package.module:name` beside it or in the working directory.

    They come last on the path, so that no file there hides a library; workers take the path over.
    """
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def read_seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 0,1,2", param_hint="--seeds")
    return tuple(dict.fromkeys(int(word) for word in words))


def read_track(names: Sequence[str] | None, mlflow_uri: str | None) -> Wanted:
    """`--track a,b` or `--track a --track b`, each once; with an address MLflow is meant."""
    from ablate.track import Wanted

    words = [word.strip() for text in names or () for word in text.split(",")]
    if mlflow_uri is not None and "mlflow" not in words:
        raise typer.BadParameter("says where MLflow is: name mlflow as well", param_hint="--mlflow-uri")
    wanted = Wanted(tuple(dict.fromkeys(words)), mlflow_uri)
    wanted.check()
    return wanted


def executor_options(slurm: Sequence[str] | None, ray_address: str | None = None) -> ExecutorOptions:
    from ablate.runner.executors import ExecutorOptions

    return ExecutorOptions(ray_address=ray_address, slurm=_read_slurm(slurm))


def _read_slurm(words: Sequence[str] | None) -> dict[str, str]:
    """`partition=gpu`, one a word, each key once; a switch of sbatch needs no value."""
    found: dict[str, str] = {}
    for word in words or ():
        key, _, value = word.partition("=")
        if not key.strip() or key in found:
            said = "is said twice" if key in found else "is no KEY=VALUE, such as partition=gpu"
            raise typer.BadParameter(f"{word!r} {said}", param_hint="--slurm")
        found[key] = value
    return found


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}", param_hint=name)


def print_opening(report: Path) -> None:
    """The answer: what stands in the report before its first section."""
    typer.echo("\n" + report.read_text(encoding="utf-8").partition("\n## ")[0].strip())
