"""What the parts of the page share: verdicts as text with a shape, links to trials, plain tables."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.report.numbers import NONE
from ablate.report.printed import PrintedTable
from ablate.report.rows import Report
from ablate.web import Html, element, join

# Shape by verdict, so that none is told by its colour: symbols of `SHAPES`.
_SHAPE_OF = {
    "better": "up",
    "better but within the margin": "up-open",
    "worse": "down",
    "worse but within the margin": "down-open",
    "equivalent": "equal",
    "no-op": "equal",
    "undecided": "ring",
    "exploratory": "dotted",
    "undecidable": "dotted",
    "supported": "check",
    "refuted": "cross",
    "not measured": "dotted",
    "no finished run": "dotted",
    "faster": "up",
    "slower": "down",
    "baseline": "square",
    "start": "square",
}
_SYMBOLS = {
    "up": '<path class="f" d="M8 2.5 14 13H2z"/>',
    "up-open": '<path class="s" d="M8 3.5 13 12.5H3z"/>',
    "down": '<path class="f" d="M8 13.5 2 3h12z"/>',
    "down-open": '<path class="s" d="M8 12.5 3 3.5h10z"/>',
    "equal": '<path class="s" d="M2.5 6h11M2.5 10.5h11"/>',
    "ring": '<circle class="s" cx="8" cy="8" r="5.2"/>',
    "dotted": '<circle class="s d" cx="8" cy="8" r="5.2"/>',
    "check": '<path class="s" d="M2.5 8.5 6.5 12.5 13.5 4"/>',
    "cross": '<path class="s" d="M3.5 3.5l9 9M12.5 3.5l-9 9"/>',
    "square": '<path class="f" d="M4.5 4.5h7v7h-7z"/>',
}
SHAPES = Html(
    '<svg class="unseen" aria-hidden="true">'
    + "".join(f'<symbol id="s-{key}" viewBox="0 0 16 16">{drawn}</symbol>' for key, drawn in _SYMBOLS.items())
    + "</svg>"
)


def verdict(said: str) -> Html:
    """The word with its shape before it; one that has it already stays."""
    if isinstance(said, Html):
        return said
    shape = _SHAPE_OF.get(said.removesuffix(", post hoc"), "ring")
    return element(
        "span",
        element("svg", element("use", href=f"#s-{shape}"), class_="shape", aria_hidden="true"),
        said,
        class_=f"verdict v-{shape}",
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where the trials of each variant stand in the page. variants: name -> place. trials: id -> place."""

    variants: Mapping[str, int]
    trials: Mapping[tuple[str, int], int]

    def link(self, said: object, *names: str, class_: str = "behind") -> Html:
        """A link to the trials of these variants; plain text where there is none."""
        known = [self.variants[name] for name in dict.fromkeys(names) if name in self.variants]
        if not known:
            return element("span", said)
        return element(
            "a",
            said,
            href=f"#v{known[0]}",
            class_=class_,
            data_v=" ".join(map(str, known)),
            title=f"The trials of {', '.join(dict.fromkeys(names))}"
            if len(known) < 5
            else "The trials behind",
        )


def places(report: Report) -> Places:
    trials = ((row.name, trial.seed) for row in report.variants for trial in row.trials)
    return Places(
        variants={row.name: place for place, row in enumerate(report.variants)},
        trials={trial: place for place, trial in enumerate(trials)},
    )


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], *, label: str, left: Container[str] = ()
) -> Html:
    """Text to the left, figures to the right; wider than the page, it scrolls.

    left: header cells of what is text, whatever its cells are. Plain cells under "Verdict" get their shape.
    """
    rows = [
        [
            verdict(cell) if said == "Verdict" and isinstance(cell, str) and cell != NONE else cell
            for said, cell in zip(header, row, strict=True)
        ]
        for row in rows
    ]
    right = {
        column
        for column in range(1, len(header))
        if header[column] not in left
        and all(_is_figure(row[column]) for row in rows)
        and any(_DIGIT.search(_shown(row[column])) for row in rows)
    }

    def cells(row: Sequence[object], kind: str) -> Html:
        return join(
            element(
                "th" if kind == "th" or column == 0 else "td",
                cell,
                class_="figure" if column in right else "long" if len(_shown(cell)) > _LONG else None,
                scope={("th", True): "col", ("th", False): "col", ("td", True): "row"}.get(
                    (kind, column == 0)
                ),
            )
            for column, cell in enumerate(row)
        )

    whole = element(
        "table",
        element("thead", element("tr", cells(header, "th"))),
        element("tbody", join(element("tr", cells(row, "td")) for row in rows)),
        class_="plain",
    )
    return scrolling(whole, label)


def printed(one: PrintedTable, *, titled: bool = False) -> Html:
    """A table of the markdown's, in HTML."""
    whole = table(one.header, one.rows, label=one.title, left=one.left)
    return join([element("h4", one.title), whole]) if titled else whole


def scrolling(content: Html, label: str) -> Html:
    """A region that a keyboard can scroll."""
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")


def two_lines(first: object, second: object) -> Html:
    """A figure with what belongs to it below."""
    return join([element("div", first), element("div", second, class_="under")])


def notes(sentences: Iterable[object]) -> Html:
    return join(element("p", sentence, class_="note") for sentence in sentences)


def with_code(plain: str) -> Html:
    """What stands between two backticks becomes code."""
    parts = plain.split("`")
    if len(parts) % 2 == 0:
        return join([plain])
    return join(element("code", part) if at % 2 else part for at, part in enumerate(parts))


def bullets(sentences: Iterable[object], class_: str | None = None) -> Html:
    found = [element("li", sentence) for sentence in sentences]
    return element("ul", join(found), class_=class_) if found else Html()


def folded(summary: str, *content: object) -> Html:
    return element("details", element("summary", summary), *content)


def settings_in_words(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted keys with their values, nested ones drawn apart, in the order of the file."""
    found: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += [(f"{key}.{inner}", said) for inner, said in settings_in_words(value)]
        elif isinstance(value, list | tuple):
            found.append((str(key), ", ".join(map(str, value)) or "none"))
        elif isinstance(value, bool):
            found.append((str(key), "true" if value else "false"))
        else:
            found.append((str(key), "none" if value is None else str(value)))
    return found


def sentence(said: str) -> str:
    """With a full stop at its end, and a capital where it starts with no name."""
    start = "The " if said.startswith("the ") else said[:4]
    return f"{start}{said[4:]}{'' if said.endswith('.') else '.'}"


_LONG = 40  # letters of a cell, beyond which a narrow window must not squeeze it to a word a line
_DIGIT = re.compile(r"\d")
_TAGS = re.compile(r"<[^>]*>")
_UNITS = re.compile(r"\b(to|of|ms|MiB|M)\b")


def _is_figure(cell: object) -> bool:
    """Whether it holds no word but a unit."""
    return not any(sign.isalpha() for sign in _UNITS.sub("", _shown(cell)))


def _shown(cell: object) -> str:
    return _TAGS.sub("", cell) if isinstance(cell, Html) else str(cell)
