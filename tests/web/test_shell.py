"""A page carries all it needs and permits nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

import ablate.web
from ablate.web import THEME_SWITCH, asset, element, page


def policy(text: str) -> dict[str, list[str]]:
    said = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert said is not None
    return {name: values for name, *values in (part.split() for part in said.group(1).split(";"))}


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_permits_the_page_s_own_scripts_and_styles_and_nothing_else() -> None:
    text = page("t", element("p", "x"), data=[1], script="let a = 1 < 2;", styles="p { color: red; }")
    allowed = policy(text)
    assert allowed["default-src"] == ["'none'"] and allowed["img-src"] == ["data:"]
    assert allowed["base-uri"] == allowed["form-action"] == ["'none'"]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert allowed["script-src"] == [digest(script) for script in scripts]
    assert scripts == [asset("ablate.web", "theme.js"), "let a = 1 < 2;"]
    (styles,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert allowed["style-src"] == [digest(styles)] and styles.endswith("p { color: red; }")
    assert set(allowed) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert "unsafe" not in text


def test_the_policy_stands_before_whatever_it_governs() -> None:
    text = page("t", THEME_SWITCH, script="1")
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")


def test_a_title_is_text_and_equal_pages_are_equal() -> None:
    made = page("</title><script>alert(1)</script>", "")
    assert "<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;</title>" in made
    assert made == page("</title><script>alert(1)</script>", "")


@pytest.mark.parametrize(
    "arguments", [{"script": "x = '</ScRiPt>'"}, {"script": "'<!--'"}, {"styles": "/* </style> */"}]
)
def test_a_script_that_would_end_its_element_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="would end the element"):
        page("t", "", **arguments)


def test_no_asset_of_the_package_names_another_host() -> None:
    folder = Path(ablate.web.__file__).parent.parent
    assets = [path for kind in ("*.css", "*.js") for path in folder.rglob(kind)]
    assert len(assets) >= 4
    for path in assets:
        assert not re.search(r"https?:|//[a-z]|@import|url\(|eval\(|new Function", path.read_text()), path
