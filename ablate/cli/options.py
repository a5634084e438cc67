"""What several commands share: their arguments and options, and how these are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ablate.spec import Study

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


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}", param_hint=name)


def print_opening(report: Path) -> None:
    """The answer: what stands in the report before its first section."""
    typer.echo("\n" + report.read_text(encoding="utf-8").partition("\n## ")[0].strip())
