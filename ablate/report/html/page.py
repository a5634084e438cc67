"""The page from the rows: the answer, then what it rests on, down to the trials."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import controls, looks, missing, numbers, pace, pretraining
from ablate.report.headline import open_report
from ablate.report.html.claims import claims
from ablate.report.html.costs import costs
from ablate.report.html.curves import curves
from ablate.report.html.effects import effects, findings
from ablate.report.html.results import results
from ablate.report.html.sweeps import sweep
from ablate.report.html.trials import letter, trials
from ablate.report.html.tuning import tuning_section
from ablate.report.html.words import SHAPES, Places, bullets, folded, notes, places, table
from ablate.report.method import MEASURED_PREFIX, measured_lines, method_lines
from ablate.report.rows import Report
from ablate.web import THEME_SWITCH, Html, asset, element, join, page

_HERE = "ablate.report.html"


def render_html(report: Report) -> str:
    """The whole page. Equal rows give equal text."""
    sections = _sections(report, places(report))
    links = (element("li", element("a", title, href=f"#{id}")) for id, title, _, _ in sections)
    body = element(
        "div",
        SHAPES,
        _top(report),
        element("nav", element("ul", join(links)), class_="contents", aria_label="Contents"),
        element(
            "main",
            join(
                element("section", element("h2", title), content, id=id) for id, _, title, content in sections
            ),
        ),
        _foot(report),
        class_="sheet",
    )
    around = element("div", id="tip", class_="tip", role="status", hidden=True)
    panel = element(
        "dialog",
        element("div", element("button", "Close", type="button", id="close"), class_="closing"),
        element("div", id="behind"),
        id="panel",
        aria_label="The trials behind a number",
    )
    return page(
        report.title,
        join([body, around, panel]),
        styles=asset(_HERE, "report.css"),
        script=asset(_HERE, "report.js"),
    )


def _sections(report: Report, places: Places) -> list[tuple[str, str, str, Html]]:
    """(id, title in the contents, title, content) of what there is something to say of."""
    every: list[tuple[str, str, str, Html | None]] = [
        ("answer", "Answer", "The answer", _answer(report, places)),
        ("claims", "Claims", "Claims", claims(report, places) if report.claims else None),
        ("results", "Results", "Results", results(report, places)),
        (
            "looks",
            "Looks",
            "How the seeds were given out",
            _looks(report) if report.looks.until_decided else None,
        ),
        ("effects", "Effects", "Effects of the parts", effects(report, places) if report.effects else None),
        ("sweeps", "Sweeps", "Sweeps", join(sweep(report, one, places) for one in report.sweeps) or None),
        (
            "costs",
            "Cost",
            "Costs" if report.costs_alone else "Accuracy and cost",
            costs(report, places) if report.costs.counted else None,
        ),
        ("tuning", "Tuning", "Tuning", tuning_section(report)),
        ("controls", "Controls", controls.title(report), _controls(report) if report.controls else None),
        ("curves", "Curves", "Learning curves", curves(report, places) if report.curves else None),
        ("pretraining", "Pretraining", "Pretraining", _pretraining(report) if report.pretraining else None),
        ("failures", "Failures", "Incomplete and failed", _incomplete(report) if report.incomplete else None),
        ("method", "Method", "How it was measured", _method(report)),
        ("trials", "Trials", "The trials", None if report.costs_alone else trials(report, places)),
    ]
    return [(id, short, title, content) for id, short, title, content in every if content is not None]


def _top(report: Report) -> Html:
    done, planned = sum(row.n for row in report.variants), len(report.trials)
    failed = sum(row.failed for row in report.variants)
    machines = dict.fromkeys(environment.device_name for environment, _ in report.environments)
    trained = [
        ("Seeds", str(len(report.seeds))),
        ("Trials", f"{done:,} of {planned:,}" + (f", {failed:,} failed" if failed else "")),
        ("Data", str(report.data.get("source") or "–")),
        ("Test images", numbers.count(report.data.get("test_count"))),
    ]
    if report.costs_alone:
        trained = [("Trials", "none: costs alone")]
        machines = dict.fromkeys(machine.device_name for machine in report.costs.machines)
    facts = [
        ("Variants", str(len(report.variants))),
        *trained,
        ("Machine", ", ".join(machines) or "–"),
    ]
    look = (
        element("p", element("a", "What the networks look at", href="look.html"))
        if report.look_page
        else None
    )
    return element(
        "header",
        element(
            "div",
            element("span", f"Ablation study · {report.study}", class_="eyebrow"),
            THEME_SWITCH,
            class_="line",
        ),
        element("h1", report.title),
        element("p", report.scope, class_="note") if report.scope else None,
        element(
            "dl",
            join(element("div", element("dt", key), element("dd", value)) for key, value in facts),
            class_="facts",
        ),
        look,
        class_="top",
    )


def _answer(report: Report, places: Places) -> Html:
    opening = open_report(report)
    shown = findings(report, opening, places) if opening.findings else ""
    spent = pace.open_sentence(report)
    said = [
        *([opening.basis] if opening.basis else []),
        *([f"{spent[:1].upper()}{spent[1:]}."] if spent else []),
    ]
    return join(
        [element("p", opening.answer, class_="lead"), shown, notes(said), bullets(opening.others, "findings")]
    )


def _looks(report: Report) -> Html:
    header, rows = looks.table(report)
    return join([table(header, rows, label="Looks"), notes(looks.notes(report))])


def _controls(report: Report) -> Html:
    header, rows = controls.table(report)
    return join(
        [
            bullets((controls.answer(report, row) for row in report.controls), "findings"),
            table(header, rows, label="Controls"),
            notes(controls.notes(report)),
        ]
    )


def _pretraining(report: Report) -> Html:
    header, rows = pretraining.table(report.pretraining)
    return join([table(header, rows, label="Pretraining"), notes([pretraining.NOTE])])


def _incomplete(report: Report) -> Html:
    header, rows = missing.incomplete_table(report)
    parts = [table(header, rows, label="Incomplete variants")]
    header, rows = missing.failures_table(report)
    if rows:
        linked = [[*row[:-1], element("a", row[-1], href=f"../{row[-1]}", class_="id")] for row in rows]
        parts += [table(header, linked, label="Failed trials"), _tracebacks(report)]
        parts.append(
            element(
                "p",
                "A run says at its end what to do about each; ",
                element("code", "ablate logs TRIAL"),
                " prints a log.",
                class_="note",
            )
        )
    return join(parts)


_TRACEBACKS = 20  # a study that fails everywhere mostly fails everywhere alike


def _tracebacks(report: Report) -> Html:
    """Each traceback once, with the trials that it befell."""
    befell: dict[str, list[str]] = {}
    for trial in report.trials:
        if trial.failure is not None and trial.failure.traceback:
            befell.setdefault(trial.failure.traceback, []).append(f"{trial.variant} seed {trial.seed}")
    shown = list(befell.items())[:_TRACEBACKS]
    return join(folded(f"Traceback of {_some(names)}", element("pre", said.strip())) for said, names in shown)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _method(report: Report) -> Html:
    machine = "Machine ("
    lines = method_lines(report)
    topics = [line for line in lines if not line.startswith(machine)]
    machines = [line for line in lines if line.startswith(machine)]
    lettered = [join([element("b", letter(place)), " ", line]) for place, line in enumerate(machines)]
    measured = [line.strip().removeprefix(MEASURED_PREFIX) for line in measured_lines(report)]
    return join(
        [
            bullets([*topics, *lettered], "method"),
            bullets((f"{said[:1].upper()}{said[1:]}." for said in measured), "method"),
        ]
    )


def _foot(report: Report) -> Html:
    files = join(
        (
            element("a", name, href=name)
            for name in ("report.md", "report.json", "tables/variants.csv", "tables/trials.csv")
        ),
        ", ",
    )
    return element(
        "footer",
        "The same rows: ",
        files,
        ". Made by ablate from the records of the trials.",
        class_="note foot",
    )
