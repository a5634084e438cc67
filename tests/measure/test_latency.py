"""Timing in turns, comparing by rounds: on a simulated clock, and marked on this machine under load."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ablate.measure import MeasureError
from ablate.measure.calls import find_batch, forward, graph_replay, with_threads
from ablate.measure.latency import (
    CudaClock,
    Session,
    Timing,
    abba,
    compare,
    contention,
    time_interleaved,
)


class SimulatedClock:
    """Each call says what it would take at rest; the machine slows down by `drift` a second and is noisy.

    The noise is correlated from call to call (an AR(1) of coefficient .47), as was measured of real calls.
    """

    def __init__(self, *, drift: float = 0.0, noise: float = 0.0, seed: int = 0) -> None:
        self.now_s, self.drift, self.noise = 0.0, drift, noise
        self.rng, self.state = np.random.default_rng(seed), 0.0

    def time_ms(self, call):
        self.state = 0.47 * self.state + self.rng.normal(0, self.noise)
        ms = call() * (1 + self.drift * self.now_s) * math.exp(self.state)
        self.now_s += ms / 1e3
        return ms


def simulated(a_ms: float, b_ms: float, **how) -> Session:
    calls = {"a": lambda: a_ms, "b": lambda: b_ms}
    return time_interleaved(calls, clock=SimulatedClock(**how), warm_up_s=0.0)


def test_rounds_are_palindromes_and_everyone_goes_first_once():
    assert list(abba(("a", "b"), 2)) == [("a", "b", "b", "a"), ("b", "a", "a", "b")]
    orders = list(abba(("a", "b", "c"), 3))
    assert all(order == order[::-1] for order in orders)
    assert {order[0] for order in orders} == {"a", "b", "c"}


def test_calls_run_in_the_order_of_the_rounds():
    seen = []
    calls = {name: lambda name=name: seen.append(name) or 10.0 for name in "ab"}
    session = time_interleaved(calls, rounds=2, clock=SimulatedClock(), block_s=0.05, warm_up_s=0.0)
    warm_up, block = 3, 1 + 5  # the first call of a block is not counted
    expected = "".join(name * block for order in abba("ab", 2) for name in order)
    assert "".join(seen) == "a" * warm_up + "b" * warm_up + expected
    assert len(session.timings["a"].calls_ms) == 4 * 5
    assert len(session.timings["a"].rounds_ms) == 2


def test_a_drift_of_the_machine_falls_on_both_alike():
    found = compare(simulated(2.0, 2.0, drift=0.5), "a", "b")
    assert found.ratio == pytest.approx(1, abs=1e-3)
    session = simulated(2.0, 2.0, drift=0.5)
    rounds = session.timings["a"].rounds_ms
    assert rounds[-1] > 1.2 * rounds[0]  # the drift was there


def test_the_cost_of_a_first_call_is_outside():
    state = {"calls": 0}

    def slow_at_first():
        state["calls"] += 1
        return 35.0 if state["calls"] == 1 else 1.0

    session = time_interleaved({"a": slow_at_first}, clock=SimulatedClock(), warm_up_s=0.0)
    assert session.timings["a"].p95_ms == max(session.timings["a"].calls_ms) == 1.0


def test_percentiles_are_of_all_calls():
    timing = Timing(tuple(float(n) for n in range(1, 102)), (1.0,))
    assert (timing.p50_ms, timing.p95_ms) == (51.0, 96.0)


def test_the_comparison_is_the_paired_t_test_of_log_round_medians():
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0.1, 0.05, 10), rng.lognormal(0.0, 0.05, 10)
    session = Session({"a": Timing((1.0,), tuple(a)), "b": Timing((1.0,), tuple(b))})
    found = compare(session, "a", "b")
    reference = stats.ttest_rel(np.log(a), np.log(b))
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert found.ratio == pytest.approx(math.exp(np.mean(np.log(a / b))))
    back = compare(session, "b", "a")
    assert (back.low, back.high) == pytest.approx((1 / found.high, 1 / found.low))
    assert {found.verdict, back.verdict} == {"slower", "faster"}


def test_the_same_network_seldom_differs_from_itself_and_a_fifth_more_is_found():
    same = [compare(simulated(2.0, 2.0, noise=0.1, seed=seed), "a", "b") for seed in range(100)]
    assert sum(found.verdict != "no difference found" for found in same) <= 10
    slower = [compare(simulated(2.4, 2.0, noise=0.1, seed=seed), "a", "b") for seed in range(100)]
    assert sum(found.verdict == "slower" for found in slower) >= 95
    covered = sum(found.low <= 1.2 <= found.high for found in slower)
    assert covered >= 88  # 95 expected; the binomial gives fewer than 88 once in a thousand


@pytest.mark.parametrize(
    ("limit_s", "rounds", "calls_of_a_block"),
    [
        (None, 10, 3),
        (9.0, 10, 3),  # ten rounds of two blocks of 3 + 1 calls of 0.1 s: 8 s
        (6.0, 10, 1),  # of 1 + 1 calls: 4 s
        (3.0, 7, 1),
        (0.1, 5, 1),  # never fewer than a verdict needs
    ],
)
def test_a_limit_takes_calls_first_and_then_rounds(limit_s, rounds, calls_of_a_block):
    slow = {"a": lambda: 100.0, "b": lambda: 100.0}
    session = time_interleaved(slow, clock=SimulatedClock(), warm_up_s=0.0, limit_s=limit_s)
    assert len(session.timings["a"].rounds_ms) == rounds
    assert len(session.timings["a"].calls_ms) == 2 * rounds * calls_of_a_block


def test_a_limit_adds_no_rounds_to_those_asked_for():
    session = time_interleaved(
        {"a": lambda: 100.0}, rounds=2, clock=SimulatedClock(), warm_up_s=0.0, limit_s=60.0
    )
    assert len(session.timings["a"].rounds_ms) == 2


def test_one_round_tells_nothing():
    session = time_interleaved({"a": lambda: 3.0, "b": lambda: 2.0}, rounds=1, clock=SimulatedClock())
    found = compare(session, "a", "b")
    assert (found.low, found.high, found.verdict) == (0.0, math.inf, "one round tells nothing")
    assert str(found) == "a takes 1.500 × b: one round tells nothing"


def test_what_cannot_be_timed_or_compared_is_said():
    with pytest.raises(MeasureError, match="0 networks in 10 rounds: one of each at least is needed"):
        time_interleaved({})
    with pytest.raises(MeasureError, match="took no time"):
        time_interleaved({"a": lambda: 0.0}, clock=SimulatedClock(), warm_up_s=0.0)
    with pytest.raises(MeasureError, match="'c' was not timed; there is: a, b"):
        compare(simulated(1.0, 1.0), "a", "c")


def test_contention_is_said():
    quiet = {"net": Timing((1.0,), (1.0, 1.01, 1.0))}
    assert contention(quiet, cpu_share=0.99, load=0.3, cores=2, threads=1) == ()
    restless = {"net": Timing((1.0,), (1.0, 1.5, 1.0))}
    assert contention(restless, cpu_share=0.5, load=3.2, cores=2, threads=1) == (
        "the timed calls had the processor 50 % of the time: something else runs here, or the network waits",
        "the load was 3.2 on 2 cores before it began",
        "net: its rounds scatter by 23 %",
    )


def test_a_call_that_waits_shows_in_its_share_of_the_processor():
    session = time_interleaved({"sleeper": lambda: time.sleep(0.002)}, rounds=1, warm_up_s=0.0)
    assert session.cpu_share < 0.5
    assert any("of the time: something else runs here, or the network waits" in s for s in session.contention)


@pytest.mark.parametrize(
    ("limits", "batch"),
    [
        ({"limit_s": 0.1}, 32),  # 3 ms an image: 33 fit
        ({"limit_s": 0.1, "bytes_per_image": 1000, "limit_bytes": 10_000}, 8),
        ({"limit_s": 100.0, "largest": 16}, 16),
        ({"limit_s": 0.001}, 1),
    ],
)
def test_the_large_batch_is_the_largest_that_fits(limits, batch):
    assert find_batch(lambda n: lambda: 3.0 * n, clock=SimulatedClock(), **limits) == batch


def test_a_batch_that_does_not_fit_on_the_device_ends_the_search(monkeypatch):
    def call_of(batch):
        if batch > 8:
            raise torch.OutOfMemoryError("planted")
        return lambda: 1.0

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert find_batch(call_of, clock=SimulatedClock()) == 8


def test_cuda_flushes_the_cache_outside_the_events(monkeypatch):
    seen = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            seen.append("event")

        def elapsed_time(self, end):
            return 2.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: seen.append("synchronize"))
    clock = CudaClock("cpu", flush_bytes=64)
    clock.buffer = SimpleNamespace(zero_=lambda: seen.append("flush"))
    assert clock.time_ms(lambda: seen.append("call")) == 2.5
    assert seen == ["flush", "event", "call", "event", "synchronize"]


def test_a_graph_needs_cuda():
    with pytest.raises(MeasureError, match="a CUDA graph needs a CUDA device, not cpu"):
        graph_replay(lambda: None, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_graph_computes_what_the_call_computes():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).cuda().eval()
    images = torch.rand(1, 3, 16, 16, device="cuda")
    call = forward(network, images)
    replay = graph_replay(call, "cuda")
    images.copy_(torch.rand_like(images))
    assert torch.allclose(replay(), call())
    session = time_interleaved({"eager": call, "graph": replay}, rounds=2, clock=CudaClock("cuda"))
    assert session.timings["graph"].p50_ms > 0


def test_threads_are_as_before():
    before = torch.get_num_threads()
    with with_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


# On this machine, under load: `make test-latency`

COMPARISONS = 100


@pytest.fixture(scope="module")
def background_load():
    """A process that computes without end, which takes the processor away now and then."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"]) for _ in range(1)]
    yield
    for process in busy:
        process.kill()
        process.wait()


def small_network() -> nn.Module:
    """About a millisecond: three convolutions on 32 × 32."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1)]
    more = [nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 128, 3, padding=1), nn.Flatten(), nn.Linear(8192, 10)]
    return nn.Sequential(*layers, *more).eval()


class Delayed(nn.Module):
    """The same after `delay`."""

    def __init__(self, network: nn.Module, delay: Callable[[], None]) -> None:
        super().__init__()
        self.network, self.delay = network, delay

    def forward(self, x):
        self.delay()
        return self.network(x)


def work(seconds: float) -> None:
    """Of the processor, not of the clock on the wall."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def verdicts(a: nn.Module, b: nn.Module) -> list[str]:
    images = torch.rand(1, 3, 32, 32)
    calls = {"a": forward(a, images), "b": forward(b, images)}
    found = []
    for _ in range(COMPARISONS):
        found.append(compare(time_interleaved(calls), "a", "b"))
        print(found[-1], flush=True)
    return [each.verdict for each in found]


@pytest.mark.latency
@pytest.mark.timeout(3600)
def test_the_same_network_under_two_names_under_load(background_load):
    network = small_network()
    found = verdicts(network, network)
    differ = COMPARISONS - found.count("no difference found")
    print(f"false differences: {differ} of {COMPARISONS}")
    assert differ <= 10


@pytest.mark.latency
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("delay", [time.sleep, work], ids=["sleep", "work"])
def test_a_planted_fifth_is_found_under_load(background_load, delay):
    network = small_network()
    alone = time_interleaved({"network": forward(network, torch.rand(1, 3, 32, 32))})
    fifth_s = 0.2 * min(alone.timings["network"].calls_ms) / 1e3  # of a call that nothing disturbed
    found = verdicts(Delayed(network, lambda: delay(fifth_s)), network)
    print(f"found: {found.count('slower')} of {COMPARISONS}, planted {1e3 * fifth_s:.3f} ms")
    assert found.count("slower") >= 95
