"""Study -> variants, and what makes a trial the trial that it is."""

from ablate.variants.expansion import Expansion, Variant, expand
from ablate.variants.identity import (
    MEASURE_CODE,
    TRAINING_CODE,
    canonical,
    changed_fields,
    complete,
    cost_id,
    identity_hash,
    source_fingerprints,
    trial_identity,
    variant_id,
    weights_sha256,
)

__all__ = [
    "MEASURE_CODE",
    "TRAINING_CODE",
    "Expansion",
    "Variant",
    "canonical",
    "changed_fields",
    "complete",
    "cost_id",
    "expand",
    "identity_hash",
    "source_fingerprints",
    "trial_identity",
    "variant_id",
    "weights_sha256",
]
