"""The section on `ablate tune`: what was found, from which budget, and where the drawings lie."""

from __future__ import annotations

from ablate.report import tuning
from ablate.report.html.words import bullets, notes, table
from ablate.report.rows import Report
from ablate.web import Html, element, join


def tuning_section(report: Report) -> Html | None:
    found = report.tuning
    if found is None:
        return None
    parts: list[Html] = [bullets(tuning.answer(search, found.objectives) for search in found.searches)]
    for search in found.searches:
        if search.best:
            header, rows = tuning.settings_table(found, search)
            parts.append(table(header, rows, label=f"The best settings of {search.start}"))
        if tuning.explains(search):
            header, rows = tuning.importance_table(search)
            parts.append(table(header, rows, label=f"Importances around {search.start}"))
    drawn = tuning.figures(found)
    if drawn:
        links = [element("a", figure.caption, href=f"figures/{figure.name}.svg") for figure in drawn]
        parts.append(element("p", "Drawn: ", join(links, ", "), ".", class_="note"))
    parts.append(notes(tuning.notes(found)))
    return join(parts)
