"""The section on `ablate tune`: what was found, from which budget, and its figures."""

from __future__ import annotations

from ablate.report import tuning
from ablate.report.html.tuning_charts import NOTE, charts
from ablate.report.html.words import bullets, notes, table, with_code
from ablate.report.rows import Report
from ablate.report.tuning import TunedSearch, Tuning
from ablate.web import Html, element, join


def tuning_section(report: Report) -> Html | None:
    found = report.tuning
    if found is None:
        return None
    said = bullets((tuning.answer(search, found.objectives) for search in found.searches), "findings")
    return join(
        [
            said,
            *(_search(found, search) for search in found.searches),
            notes(map(with_code, tuning.notes(found))),
        ]
    )


def _search(found: Tuning, search: TunedSearch) -> Html:
    parts: list[Html] = [element("h3", search.start)] if len(found.searches) > 1 else []
    if search.best:
        header, rows = tuning.settings_table(found, search)
        parts.append(table(header, rows, label=f"The best settings of {search.start}", left={"Setting"}))
    if tuning.explains(search):
        header, rows = tuning.importance_table(search)
        parts.append(table(header, rows, label=f"Importances around {search.start}", left={"Setting"}))
    if drawn := charts(found, search):
        figures = (element("figure", chart) for chart in drawn)
        parts += [element("div", join(figures), class_="charts"), notes([NOTE])]
    return join(parts)
