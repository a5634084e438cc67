"""The simulated cluster against closed forms and against counting by hand."""

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))

from simulated_cluster import Cluster, Load, simulate

SOUND = {"mtbf_h": math.inf}


@pytest.mark.parametrize(
    ("trials", "gpus", "rounds"), [(100, 1, 100), (100, 8, 13), (512, 512, 1), (5, 8, 1)]
)
def test_equal_trials_on_sound_gpus_take_whole_rounds(trials, gpus, rounds):
    course = simulate(Load(trials, 60.0, spread=0.0, driver_s=0.0), Cluster(gpus, **SOUND))
    assert course.wall_s == pytest.approx(60.0 * rounds)
    assert course.busy_s == pytest.approx(60.0 * trials)
    assert course.in_use == pytest.approx(trials / (gpus * rounds))
    assert course.lost_s == course.trials_lost == 0


def test_a_slow_driver_sets_the_pace():
    """Trials of a second on a hundred GPUs ask for a hundred a second; the driver hands out ten."""
    course = simulate(Load(2000, 1.0, spread=0.0, driver_s=0.1), Cluster(100, **SOUND))
    assert course.wall_s == pytest.approx(2000 * 0.1 + 1.0)
    assert course.in_use == pytest.approx(0.1, rel=0.01)


def test_the_length_of_trials_has_the_mean_that_was_asked_for():
    course = simulate(Load(20_000, 60.0, spread=0.5, driver_s=0.0), Cluster(1, **SOUND))
    assert course.wall_s == pytest.approx(20_000 * 60.0, rel=0.02)


def test_without_checkpoints_a_trial_begins_anew_until_a_node_lasts_long_enough():
    """The classic result: work of length w under failures of rate r takes (exp(r w) - 1) / r on average."""
    mean_s, work_s, trials = 1000.0, 1500.0, 4000
    load = Load(trials, work_s, spread=0.0, checkpoint_s=math.inf, restart_s=0.0, driver_s=0.0)
    course = simulate(load, Cluster(1, gpus_per_node=1, mtbf_h=mean_s / 3600, repair_s=0.0), seed=3)
    expected = trials * mean_s * math.expm1(work_s / mean_s)
    assert course.wall_s == pytest.approx(expected, rel=0.05)
    assert course.busy_s == pytest.approx(course.wall_s)
    assert course.busy_s - course.lost_s == pytest.approx(trials * work_s)


def test_what_is_busy_and_not_lost_is_the_work():
    load = Load(3000, 600.0, spread=0.2, checkpoint_s=100.0, restart_s=20.0)
    calm = simulate(load, Cluster(64, **SOUND), seed=5)
    rough = simulate(load, Cluster(64, mtbf_h=20.0, repair_s=600.0), seed=5)
    assert rough.trials_lost > 100
    assert rough.busy_s - rough.lost_s == pytest.approx(calm.busy_s)
    assert rough.wall_s > calm.wall_s
    # Half a checkpoint's time and a restart are lost with each, on average.
    assert rough.lost_s / rough.trials_lost == pytest.approx(50 + 20, rel=0.15)


def test_gpus_of_a_node_fail_together():
    load = Load(800, 3600.0, spread=0.0, driver_s=0.0)
    alone = simulate(load, Cluster(8, gpus_per_node=1, mtbf_h=100.0), seed=1)
    together = simulate(load, Cluster(8, gpus_per_node=8, mtbf_h=100.0), seed=1)
    # A node of eight fails eight times as often, and takes eight trials with it; a GPU of its own takes one.
    assert alone.trials_lost == pytest.approx(800 / 100, rel=0.8)
    assert together.trials_lost == pytest.approx(8 * 800 / 100, rel=0.5)


def test_the_same_seed_gives_the_same_course():
    load, cluster = Load(200, 600.0), Cluster(16, mtbf_h=30.0)
    assert simulate(load, cluster, 7) == simulate(load, cluster, 7)
    assert simulate(load, cluster, 7) != simulate(load, cluster, 8)
