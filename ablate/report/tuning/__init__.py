"""What `ablate tune` found: rows from its own file, then sentences, tables, figures, all without Optuna."""

from ablate.report.tuning.charts import draw, figures
from ablate.report.tuning.reading import read_promoted, read_tuning
from ablate.report.tuning.rows import Promoted, TunedSearch, TunedTrial, Tuning
from ablate.report.tuning.tables import document, explains, importance_table, records, settings_table
from ablate.report.tuning.words import (
    answer,
    in_one_line,
    in_words,
    notes,
    opening_sentences,
    other_search,
    promoted_sentence,
    settings_line,
    shown,
    told,
)

__all__ = [
    "Promoted",
    "TunedSearch",
    "TunedTrial",
    "Tuning",
    "answer",
    "document",
    "draw",
    "explains",
    "figures",
    "importance_table",
    "in_one_line",
    "in_words",
    "notes",
    "opening_sentences",
    "other_search",
    "promoted_sentence",
    "read_promoted",
    "read_tuning",
    "records",
    "settings_line",
    "settings_table",
    "shown",
    "told",
]
