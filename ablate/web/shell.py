"""The shell of a page: theme, policy, data and script round a body."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

from ablate.web.markup import Html, element, embed, join

# Hidden until the script has found it: without a script the page follows the system.
THEME_SWITCH = element("button", "Dark", type="button", class_="theme", data_theme_switch=True, hidden=True)


def page(title: str, body: str, *, data: Any = None, script: str = "", styles: str = "") -> str:
    """A whole HTML document that loads nothing.

    body: markup, made by `element` or with every text escaped. data: what the script reads from
    ``document.getElementById("data")``; none where it is None. script, styles: the page's own, after the
    theme's; `asset` reads them. Equal arguments give equal text.

    Its policy runs these two scripts and these styles and nothing else: no attribute can hold a script or a
    style (a script may set ``node.style.width``), no image but a data: address, no request, no form.
    """
    theme_script, all_styles = asset("ablate.web", "theme.js"), asset("ablate.web", "theme.css") + styles
    scripts = [text for text in (theme_script, script) if text]
    for text in scripts:
        _refuse(text, r"</script|<!--|\r")
    _refuse(all_styles, r"</style|\r")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_digest(text) for text in scripts)}",
            f"style-src {_digest(all_styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="referrer" content="no-referrer">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html('<link rel="icon" href="data:,">'),  # or a browser asks for one
        element("title", title),
        Html(f"<style>{all_styles}</style>"),
        Html(f"<script>{theme_script}</script>"),
    ]
    foot = [embed(data)] if data is not None else []
    foot += [Html(f"<script>{script}</script>")] if script else []
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{join(head, chr(10))}\n</head>\n'
        f"<body>\n{body}\n{join(foot, chr(10))}\n</body>\n</html>\n"
    )


@cache
def asset(package: str, name: str) -> str:
    """The text of a file that lies in a package: ``asset("ablate.web", "theme.css")``."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _refuse(text: str, pattern: str) -> None:
    found = re.search(pattern, text, re.IGNORECASE)
    if found:
        raise ValueError(f"{found.group()!r} would end the element that it stands in")
