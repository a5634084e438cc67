"""Energy by a counter that is planted: a known power gives known millijoules a call."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from ablate.measure import energy
from ablate.measure.energy import NvmlCounter, count_energy, counter_for


class Metered:
    """Each call draws what it says, on a clock of its own; the counter shows what was drawn so far."""

    means = "planted"

    def __init__(self, monkeypatch):
        self.drawn_mj, self.now_s, self.order = 0.0, 0.0, []
        monkeypatch.setattr(energy.time, "perf_counter", lambda: self.now_s)

    def read_mj(self):
        return self.drawn_mj

    def call(self, name, mj, seconds=0.1):
        def run():
            self.drawn_mj += mj
            self.now_s += seconds
            self.order.append(name)

        return run


def test_energy_of_a_call_is_what_it_draws_in_windows_in_turns(monkeypatch):
    meter = Metered(monkeypatch)
    calls = {"a": meter.call("a", 30.0), "b": meter.call("b", 12.0, seconds=0.25)}
    found = count_energy(calls, meter, synchronise=lambda: None, window_s=1.0)
    assert found["a"].call_mj == pytest.approx(30) and found["b"].call_mj == pytest.approx(12)
    assert len(found["a"].windows_mj) == 2 and found["a"].means == "planted"
    turns = [name for at, name in enumerate(meter.order) if meter.order[at - 1 : at] != [name]]
    assert turns == ["a", "b", "a"]  # b's two windows meet in the middle


def test_what_is_drawn_before_the_window_does_not_count(monkeypatch):
    meter = Metered(monkeypatch)
    drawn = iter([1000.0])  # by the first call, which sets up

    def call():
        meter.drawn_mj += next(drawn, 5.0)
        meter.now_s += 0.1

    assert count_energy({"a": call}, meter, synchronise=lambda: None, window_s=1.0)["a"].call_mj == (
        pytest.approx(5.0)
    )


def test_a_counter_that_stands_still_has_counted_nothing(monkeypatch):
    meter = Metered(monkeypatch)
    found = count_energy({"a": meter.call("a", 0.0)}, meter, synchronise=lambda: None, window_s=0.5)["a"]
    assert (found.call_mj, found.means) == (None, "not counted: the counter did not advance within a window")


def test_elsewhere_nothing_counts():
    assert counter_for("cpu") == "not counted: nothing counts the energy of 'cpu'"


def nvml(**handles):
    """As much of pynvml as is used. handles: UUID -> millijoules, or an exception to raise."""

    class NVMLError(Exception):
        pass

    def total(handle):
        if isinstance(handle, str):
            raise NVMLError(handle)
        return handle

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: handles[uuid.removeprefix("GPU-")],
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
    return monkeypatch


def test_the_gpu_is_found_by_its_uuid(one_gpu):
    one_gpu.setitem(sys.modules, "pynvml", nvml(other=1, abc=4200))
    counter = counter_for("cuda:0")
    assert isinstance(counter, NvmlCounter) and counter.read_mj() == 4200.0
    assert "estimate" in counter.means


def test_a_gpu_that_does_not_count_and_a_missing_package_are_said(one_gpu):
    one_gpu.setitem(sys.modules, "pynvml", nvml(abc="Not Supported"))
    assert counter_for("cuda:0") == "not counted: Not Supported"
    one_gpu.setitem(sys.modules, "pynvml", None)
    assert counter_for("cuda:0") == 'not counted: needs nvidia-ml-py (pip install "ablate-bench[energy]")'
