"""Plain text as LaTeX, and tables in booktabs' rules: nothing that a study is called can run as a command.

What comes out needs `booktabs`, `graphicx` (a table that is wider than the line is shrunk to it) and, for
check marks, `amssymb`; any engine typesets it, for it is all ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a row it would be an argument, and so would a star
    "]": "{]}",
    "*": "{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
    "°": r"\textdegree{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "µ": r"$\mu$",
    "λ": r"$\lambda$",
    "Λ": r"$\Lambda$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_COMMANDS |= {digit: f"$^{{{place}}}$" for place, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
}
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (\w+)")
# Capitals that look like Latin ones, and omicron, have no command.
_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))


def tex(plain: str) -> str:
    """Plain text as LaTeX, on one line; what LaTeX's own fonts lack stands as U+ and its number."""
    words, found = " ".join(plain.split()), []
    for before, character in zip(" " + words, words, strict=False):
        if character == before and character in "-',":
            found.append("{}")  # two in a row would be set as another character: -- as a dash
        found.append(_character(character))
    return "".join(found)


def _character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if " " <= character <= "~":
        return character
    if character in _LATIN:
        return _LATIN[character]
    name = unicodedata.name(character, "")
    if (greek := _GREEK.fullmatch(name)) and greek[2] in _GREEK_NAMES:
        letter = greek[2].lower()
        return f"$\\{letter.capitalize() if greek[1] == 'CAPITAL' else letter}$"
    base, *accents = list(unicodedata.normalize("NFD", character))
    if len(accents) == 1 and accents[0] in _ACCENTS and base.isascii() and base.isalpha():
        return f"\\{_ACCENTS[accents[0]]}{{{base}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"


_GREEK_NAMES = frozenset(
    [
        "ALPHA",
        "BETA",
        "GAMMA",
        "DELTA",
        "EPSILON",
        "ZETA",
        "ETA",
        "THETA",
        "IOTA",
        "KAPPA",
        "MU",
        "NU",
        "XI",
        "PI",
        "RHO",
        "SIGMA",
        "TAU",
        "UPSILON",
        "PHI",
        "CHI",
        "PSI",
        "OMEGA",
    ]
)
# Shrunk to the line where it is wider, and else left as it is.
_FITTED = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}"
_LONG = 36  # characters; longer words are broken over lines


@dataclass(frozen=True, slots=True)
class TexTable:
    """A table to be dropped into a paper. header, rows: TeX already. caption: plain text; label: its end.

    align: l, r or c for each column. breaks: rows before which a line of its own names a group.
    """

    name: str
    caption: str
    header: Sequence[str]
    align: str
    rows: Sequence[Sequence[str]]
    breaks: Sequence[tuple[int, str]] = ()

    def render(self, study: str) -> str:
        """A `table` with caption and label."""
        groups = dict(self.breaks)
        lines = []
        for position, row in enumerate(self.rows):
            if position in groups:
                lines += ["\\addlinespace"] if position else []
                group = f"{{@{{}}l@{{}}}}{{\\emph{{{groups[position]}}}}}"
                lines.append(f"\\multicolumn{{{len(self.header)}}}{group} \\\\")
            lines.append(f"{' & '.join(self._ragged(row))} \\\\")
        return "\n".join(
            [
                "% needs \\usepackage{amssymb,booktabs,graphicx}",
                "\\begin{table}[htbp]",
                "\\centering\\footnotesize",
                "\\setlength{\\tabcolsep}{4pt}\\setlength{\\belowcaptionskip}{4pt}",
                f"\\caption{{{tex(self.caption)}}}",
                f"\\label{{tab:{slug(study)}-{slug(self.name)}}}",
                f"{_FITTED}{{%",
                f"\\begin{{tabular}}{{@{{}}{self._columns()}@{{}}}}",
                "\\toprule",
                f"{' & '.join(self.header)} \\\\",
                "\\midrule",
                *lines,
                "\\bottomrule",
                "\\end{tabular}}",
                "\\end{table}",
                "",
            ]
        )

    def _widths(self) -> list[int]:
        """Characters of the longest word cell of each column; 0 for figures, which are never broken."""
        return [
            max((len(row[i]) for row in self.rows), default=0) if letter == "l" else 0
            for i, letter in enumerate(self.align)
        ]

    def _columns(self) -> str:
        return "".join(
            f"p{{{_width(width)}\\linewidth}}" if width > _LONG else letter
            for letter, width in zip(self.align, self._widths(), strict=True)
        )

    def _ragged(self, row: Sequence[str]) -> list[str]:
        """Broken cells are not stretched to their width; in the last column that would end the row."""
        last = len(row) - 1
        return [
            f"\\raggedright {cell}" if width > _LONG and position < last else cell
            for position, (cell, width) in enumerate(zip(row, self._widths(), strict=True))
        ]


def _width(characters: int) -> str:
    """A share of the line for a column of long words."""
    return "0.30" if characters > 3 * _LONG else "0.22"


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"
