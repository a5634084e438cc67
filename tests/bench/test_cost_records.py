"""Sessions become one record a variant and machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablate.bench import Subject, known_footprint, network_subjects, write_costs
from ablate.errors import AblateError
from ablate.record import CostRecord
from ablate.spec import Settings
from ablate.store import Store


def test_a_study_leaves_a_cost_record_a_variant_and_machine(ablate, folder):
    arguments = ["tiny.yaml", "train.batch_size=8", "--rounds", "2", "--batch", "2", "--device", "cpu"]
    code, out, err = ablate("bench", *arguments)
    assert code == 0, err
    assert "se takes" in out and "of baseline" in out
    assert "se-longer" not in out  # it differs in training alone, and costs what se costs
    store = Store("results")
    assert not list(store.trials())
    assert len(store.cost_ids()) == 2
    costs = {
        bool(cost.attention_modules): cost for name in store.cost_ids() for cost in store.read_costs(name)
    }
    plain, attended = costs[False], costs[True]
    assert attended.param_count - plain.param_count == attended.attention_param_count > 0
    for cost in costs.values():
        assert cost.machine == "here-cpu"
        assert cost.train_batch == 8
        assert cost.peak_memory_bytes > cost.inference_memory_bytes > 4 * cost.param_count
        assert (len(cost.latency_rounds_ms), cost.dtype, cost.throughput_batch) == (2, "fp32", 2)
        assert cost.latency_ms <= cost.latency_p95_ms
        assert cost.latency_graph_ms is None
    assert plain.latency_session == attended.latency_session
    # what lay there stays: records of other machines, and what was counted before
    store.write_cost(plain.model_copy(update={"machine": "there-cpu"}))
    store.write_cost(plain.model_copy(update={"latency_ms": None, "peak_memory_bytes": None}))
    code, _, err = ablate("bench", *arguments, "--only", "baseline")
    assert code == 0, err
    here, there = store.read_costs(plain.id)
    assert there == plain.model_copy(update={"machine": "there-cpu"})
    assert here.latency_ms is not None
    assert here.peak_memory_bytes == plain.peak_memory_bytes
    assert (here.id, here.macs, here.attention_modules) == (plain.id, plain.macs, ())


def test_a_network_that_is_no_variant_has_no_record(measured, tmp_path):
    [subject] = network_subjects(["net"], (3, 8, 8), 2)
    with pytest.raises(AblateError, match="'net' is no variant of a study: it has no cost record"):
        write_costs(Store(tmp_path), measured, [subject])


def test_rounds_of_earlier_sessions_stay(tmp_path, measured):
    """A baseline that two studies share is timed with each of them."""
    store = Store(tmp_path)
    subject = Subject("net", lambda: None, (3, 8, 8), 2, settings=Settings(), cost_id="0" * 16)
    record = CostRecord(
        id="0" * 16,
        machine=measured.environment.machine,
        settings={},
        input_shape=(3, 8, 8),
        param_count=1,
        attention_param_count=0,
        macs=1,
        environment=measured.environment,
        measured="2025-01-01T00:00:00+00:00",
    )
    store.write_cost(record)
    for session in ("2026-01-01", "2026-01-02", "2026-01-03"):
        write_costs(store, replace(measured, measured=session), [subject])
    [found] = store.read_costs("0" * 16)
    assert found.latency_session == "2026-01-03"
    assert list(found.sessions) == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert set(found.sessions.values()) == {(2.0,)}


def test_a_record_tells_what_need_not_be_measured_again(tmp_path, measured):
    store = Store(tmp_path)
    subject = Subject("net", lambda: None, (3, 8, 8), 2, settings=Settings(), cost_id="0" * 16)
    plain = CostRecord(
        id="0" * 16,
        machine=measured.environment.machine,
        settings={},
        input_shape=(3, 8, 8),
        param_count=1_500_000,
        attention_param_count=0,
        macs=11_375_616,
        environment=measured.environment,
        measured="2025-01-01T00:00:00+00:00",
    )
    assert known_footprint(plain) is None
    store.write_cost(plain)
    [record] = write_costs(store, measured, [subject])
    found = known_footprint(record)
    assert found is not None
    [costs] = measured.costs
    assert (found.activations, found.train_batch) == (costs.activations, costs.train_batch)
    assert found.training == costs.training and found.inference.peak_bytes == costs.inference.peak_bytes
