"""What `ablate run`, `tune` and `track` say of trackers before anything is done."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable

import pytest

import ablate.track.base
from ablate.cli import main

STUDY = "name: tiny\nbaseline: b\ndefaults: {data: {source: digits}}\nvariants: {b: {}}\n"


@pytest.fixture
def command(tmp_path, monkeypatch) -> Callable[..., tuple[int, str]]:
    """(*arguments) -> exit code, and what was printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)

    def run(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            pytest.raises(SystemExit) as ended,
        ):
            main(arguments)
        return int(ended.value.code or 0), " ".join(out.getvalue().replace("│", " ").split())

    return run


def test_an_unknown_tracker_is_refused_before_anything_is_run(command, tmp_path):
    code, said = command("run", "tiny.yaml", "--track", "tensorboard,wandb")
    assert (code, said) == (2, "error: unknown tracker 'wandb'; allowed: tensorboard, mlflow")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_without_its_package_names_the_extra(command, tmp_path, monkeypatch, name):
    def find_spec(wanted, *_):
        return None if wanted == name else importlib.util.find_spec(wanted)

    monkeypatch.setattr(ablate.track.base, "find_spec", find_spec)
    code, said = command("run", "tiny.yaml", "--track", name)
    assert code == 2
    assert (
        f"tracking with {name} needs a package that is not installed pip install 'ablate-bench[{name}]'"
        in said
    )
    assert not (tmp_path / "results").exists()


def test_an_address_without_mlflow_is_refused(command):
    code, said = command("run", "tiny.yaml", "--mlflow-uri", "http://127.0.0.1:5000")
    assert code == 2
    assert "--mlflow-uri: says where MLflow is: name mlflow as well" in said


def test_track_asks_where_to(command):
    code, said = command("track", "tiny")
    assert code == 2
    assert "--to: name one: tensorboard, mlflow" in said
