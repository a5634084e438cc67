"""`ablate tune`: its options are settings of the section, checked as such."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ablate.cli import app
from ablate.errors import StudyError

STUDY = """\
name: tiny
baseline: baseline
seeds: [0, 1]
defaults: {data: {source: digits}, model: {args: {width: 0.125}, attention: {name: se, at: [block2]}}}
variants: {baseline: {model.attention: null}, se: {}}
tune:
  from: se
  space: {model.attention.args.reduction: [2, 4, 8]}
"""


@pytest.fixture
def tune(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)

    def tune(*options):
        command = ["tune", str(path), "-o", str(tmp_path / "results"), "--device", "cpu", *options]
        return CliRunner().invoke(app, command)

    return tune


def test_a_dry_run_says_what_would_be_searched(tune, tmp_path):
    done = tune("--dry-run", "--trials", "2", "--seeds", "5,6", "--sampler", "random", "--pruner", "median")
    assert done.exit_code == 0, done.output
    assert "se: 2 trials of 2 seeds (5, 6) over model.attention.args.reduction: a space of 3" in done.output
    assert "sampler random, pruner median" in done.output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sampler", "tea"), "command line: tune.sampler: 'tea' is not allowed here"),
        (("--seeds", "1,2"), "command line: tune.seeds: 1 is among the seeds of the study"),
        (("--trials", "0"), "command line: tune.trials: must be at least 1, got 0"),
    ],
)
def test_an_option_is_checked_like_the_setting(tune, options, said):
    done = tune(*options)
    assert isinstance(done.exception, StudyError)
    assert said in str(done.exception)
