"""The counted costs of a variant."""

from ablate.spec.settings import Settings
from ablate.trial import inspect_variant, measure_cost
from ablate.variants import cost_id


def test_a_cost_record_holds_what_inspection_found(environment):
    attention = {"name": "msa", "args": {"reduction": 8}, "at": ["block2", "block3"]}
    chosen = Settings.model_validate({"model": {"attention": attention}})
    cost, found = (
        measure_cost(chosen, image_shape=(3, 32, 32), classes=10, environment=environment),
        inspect_variant(chosen, (3, 32, 32), 10),
    )
    assert cost.id == cost_id(chosen, input_shape=(3, 32, 32), classes=10)
    assert (cost.param_count, cost.macs, cost.attention_macs) == (
        found.param_count,
        found.macs,
        found.attention_macs,
    )
    assert cost.attention_modules == found.attached and cost.machine == environment.machine
    assert (cost.latency_ms, cost.peak_memory_bytes) == (None, None)
