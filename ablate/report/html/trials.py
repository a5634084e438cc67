"""Every trial, grouped by variant: what all numbers rest on, with the path of each record."""

from __future__ import annotations

from ablate.failures import headline
from ablate.report import numbers
from ablate.report.html.words import Places, bullets, scrolling, settings_in_words
from ablate.report.rows import Report, TrialRow, VariantRow
from ablate.web import Html, element, join

_HEADER = (
    "Seed",
    "Accuracy, %",
    "Best epoch, %",
    "Validation, %",
    "Training, %",
    "Time",
    "Images/s",
    "Machine",
    "Record",
)


def trials(report: Report, places: Places) -> Html:
    note = (
        "Accuracy: test images, last epoch; best epoch: test images, at the epoch with the best validation "
        "accuracy. A record is a JSON file beside this page: it opens where the results tree lies."
    )
    return join([element("p", note, class_="note"), *(_variant(row, places) for row in report.variants)])


def _variant(row: VariantRow, places: Places) -> Html:
    settings = [
        join([element("dt", key), element("dd", value)]) for key, value in settings_in_words(row.settings)
    ]
    facts = [
        *([f"Also called {', '.join(row.aliases)}."] if row.aliases else []),
        *(
            [f"Mixed environments: {', '.join(row.mixed)} differ among the trials compared."]
            if row.mixed
            else []
        ),
        *(f"Warning: {warning}." for warning in row.warnings),
    ]
    header = join(
        element("th", title, scope="col", class_="figure" if 0 < column < 7 else None)
        for column, title in enumerate(_HEADER)
    )
    table = element(
        "table",
        element("thead", element("tr", header)),
        element("tbody", join(_trial(trial, places) for trial in row.trials)),
    )
    place = places.variants[row.name]
    return element(
        "article",
        element("h3", row.name),
        element("dl", join(settings), class_="set") if settings else None,
        bullets(facts, "note") or None,
        scrolling(table, f"Trials of {row.name}"),
        class_="trials",
        id=f"v{place}",
        data_name=row.name,
    )


def _trial(trial: TrialRow, places: Places) -> Html:
    place = places.trials[trial.variant, trial.seed]
    metrics = trial.metrics
    if metrics is None:
        told = headline(trial.failure) if trial.failure is not None else "still to run"
        cells = [element("td", told, colspan=6)]
    else:
        flag = "" if trial.learned is not False else " did not learn"
        figures = [
            f"{numbers.points(metrics.accuracy)}{flag}",
            numbers.points(metrics.accuracy_best),
            numbers.points(metrics.validation_accuracy),
            numbers.points(metrics.train_accuracy),
            _time(trial.wall_s),
            numbers.NONE if trial.images_per_s is None else f"{trial.images_per_s:,.0f}",
        ]
        cells = [element("td", figure, class_="figure") for figure in figures]
    record = (
        element("a", trial.id, href=f"../trials/{trial.id}/record.json", class_="id")
        if trial.status != "pending"
        else element("span", trial.id, class_="id muted")
    )
    machine = numbers.NONE if trial.environment is None else letter(trial.environment)
    return element(
        "tr",
        element("th", trial.seed, scope="row"),
        *cells,
        element("td", machine),
        element("td", record),
        id=f"t{place}",
        data_seed=trial.seed,
        data_trial=trial.id,
        data_accuracy=numbers.points(metrics.accuracy) if metrics else None,
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return numbers.NONE
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def letter(place: int) -> str:
    """A, B, … Z, A2, …: how the report tells environments apart."""
    turns, rest = divmod(place, 26)
    return chr(ord("A") + rest) + (str(turns + 1) if turns else "")
