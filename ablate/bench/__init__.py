"""What networks cost, measured apart from training: counts, then memory, then latency, never two at a time.

Variants of a study leave a cost record each; networks named on the command line leave a table.
"""

from ablate.bench.footprints import Footprint, footprint
from ablate.bench.modules import module_tables, modules_json, modules_text
from ablate.bench.records import known_footprint, write_costs
from ablate.bench.session import Bench, Costs, measure
from ablate.bench.subjects import (
    DTYPES,
    Conditions,
    Subject,
    beside_baseline,
    network_subjects,
    study_subjects,
    variant_subject,
    with_baseline,
)
from ablate.bench.text import bench_json, bench_text

__all__ = [
    "DTYPES",
    "Bench",
    "Conditions",
    "Costs",
    "Footprint",
    "Subject",
    "bench_json",
    "bench_text",
    "beside_baseline",
    "footprint",
    "known_footprint",
    "measure",
    "module_tables",
    "modules_json",
    "modules_text",
    "network_subjects",
    "study_subjects",
    "variant_subject",
    "with_baseline",
    "write_costs",
]
