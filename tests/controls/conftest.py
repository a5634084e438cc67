"""A study written to a file and expanded, with the trial arm's own ways to inspect and to build."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ablate.spec import Settings, load_study
from ablate.trial import inspect_variant
from ablate.variants import expand

CLASSES = ("one", "two", "three")
SHAPE = (1, 16, 16)

STUDY = """\
name: tiny
baseline: baseline
defaults:
  data: {{source: digits}}
  model:
    backbone: {backbone}
    args: {args}
    attention: {{name: msa, args: {{reduction: 4}}, at: [block1, block2, block3]}}
variants:
  baseline: {{model.attention: null}}
  msa: {{}}
{more}"""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planned(tmp_path: Any) -> Callable[..., Any]:
    """(more of the study, backbone, args) -> study, expansion, and `inspect`, which counts what it builds."""

    def make(more: str = "", backbone: str = "cnn", args: str = "{width: 0.25}") -> Any:
        path = tmp_path / "s.yaml"
        path.write_text(STUDY.format(more=more, backbone=backbone, args=args))
        study, built = load_study(path), []

        def inspect(settings: Settings) -> Any:
            built.append(settings)
            return inspect_variant(settings, SHAPE, len(CLASSES))

        return SimpleNamespace(study=study, expansion=expand(study), inspect=inspect, built=built)

    return make


@pytest.fixture
def own_module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """(name, source) -> a module of the user's own, on the path."""

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))

    return write
