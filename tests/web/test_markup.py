"""Text cannot become markup, whatever it holds."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from ablate.web import Html, element, embed, escape, join

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\x00\x1b[31m\ud800",
]


class Reader(HTMLParser):
    """What a browser makes of it: elements with their attributes, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text_in_an_element_and_in_an_attribute(text: str) -> None:
    shown = text.translate({0: "\ufffd", 0x1B: "\ufffd", 0xD800: "\ufffd"})
    read = Reader(element("td", text, join(["a", text], between=text), title=text))
    assert read.elements == [("td", {"title": shown})]
    assert read.text == shown + "a" + shown + shown


def test_markup_is_escaped_once() -> None:
    inner = element("b", "a < b")
    assert element("p", inner, " & ", escape(escape("<"))) == "<p><b>a &lt; b</b> &amp; &lt;</p>"


def test_attributes_are_named_and_left_out_as_said() -> None:
    found = element(
        "th", "x", class_="figure", data_v=3, aria_label='a "b"', hidden=True, title=None, id=False
    )
    assert found == '<th class="figure" data-v="3" aria-label="a &quot;b&quot;" hidden>x</th>'
    assert element("line", x1=0, y1=None) == '<line x1="0"/>'
    assert element("input", type="search") == '<input type="search">'


@pytest.mark.parametrize("name", ["onclick", "onerror", "style"])
def test_an_attribute_that_the_policy_blocks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="blocked by the page's policy"):
        element("p", **{name: "x"})


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "//elsewhere.example/x.png",
        "https://elsewhere.example",
        "data:text/html;base64,PHNjcmlwdD4=",
        "file:///etc/passwd",
        "a b",
    ],
)
def test_an_address_that_leads_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no path beside the page"):
        element("a", "x", href=address)


@pytest.mark.parametrize(
    "address", ["#v3", "../trials/3fae/record.json", "look.html", "data:image/png;base64,iVBORw0KGgo="]
)
def test_an_address_beside_the_page_or_within_it_is_kept(address: str) -> None:
    assert Reader(element("a", "x", href=address)).elements == [("a", {"href": address})]


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_data_come_back_and_cannot_end_their_element(text: str) -> None:
    data = {text: [text, 1.5, None, True]}
    markup = embed(data)
    inner = markup.partition(">")[2].removesuffix("</script>")
    assert not set("<>&") & set(inner) and inner.isascii()
    assert json.loads(inner) == data
    assert [tag for tag, _ in Reader(markup).elements] == ["script"]


def test_embedded_data_are_json_that_a_browser_reads() -> None:
    with pytest.raises(ValueError):
        embed([float("nan")])


def test_html_stays_html_through_join() -> None:
    assert isinstance(join(["<", Html("<br>")]), Html)
    assert join(["<", Html("<br>")], between=" & ") == "&lt; &amp; <br>"
