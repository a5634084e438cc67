"""The report of a study: rows first, then renderings that read nothing but the rows. Torch is never loaded.

pandas, seaborn and matplotlib load only where a figure is made.
"""

from ablate.report.build import build_report
from ablate.report.json import render_json
from ablate.report.markdown import render_markdown
from ablate.report.method import MEASURED_PREFIX, without_measured
from ablate.report.rows import EffectRow, Report, SweepRows, TrialRow, VariantRow
from ablate.report.write import FORMATS, MEASURED_KEYS, render, render_study, write_report

__all__ = [
    "FORMATS",
    "MEASURED_KEYS",
    "MEASURED_PREFIX",
    "EffectRow",
    "Report",
    "SweepRows",
    "TrialRow",
    "VariantRow",
    "build_report",
    "render",
    "render_json",
    "render_markdown",
    "render_study",
    "without_measured",
    "write_report",
]
