"""A headless Chromium that opens a page from the disk, listens to its console and counts what it asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WIDE, PHONE = (1440, 900), (390, 844)


@dataclass
class Opened:
    """An open page. console: all that it said. requests: addresses that it asked for, its own file aside."""

    driver: Any
    path: Path
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def run(self, script: str, *arguments: Any) -> Any:
        """JavaScript's `return`, of a function body."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def texts(self, selector: str) -> list[str]:
        """Of the elements that are seen."""
        return [one.text for one in self.all(selector) if one.is_displayed()]

    def reload(self) -> None:
        self.driver.get(self.path.as_uri())

    def listen(self) -> Opened:
        """Brings `console` and `requests` up to date."""
        self.console += [f"{one['level']}: {one['message']}" for one in self.driver.get_log("browser")]
        entries = [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]
        # What the page's policy stopped never left; the console tells of it.
        stopped = {
            entry["params"]["requestId"]
            for entry in entries
            if entry["method"] == "Network.loadingFailed" and entry["params"].get("blockedReason") == "csp"
        }
        for entry in entries:
            told = entry["params"]
            if entry["method"] not in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                continue
            address = told.get("request", told)["url"]
            own = address.partition("#")[0] in (self.path.as_uri(), "about:blank")
            own |= address.startswith("data:")  # it stands in the page itself
            if not own and told["requestId"] not in stopped:
                self.requests.append(address)
        return self

    def assert_silent(self) -> None:
        """Nothing was said, nothing was asked for, no dialog is open."""
        self.listen()
        assert self.console == [] and self.requests == []
        assert self.run("return window.alerted") is None


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, with all of a network switched off but for what is counted."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.fail("neither Chromium nor its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",  # a container's root may have none
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture
def open_page(chromium: Any) -> Callable[..., Opened]:
    """``open_page(path, size=PHONE, dark=True)``: an `Opened` page, with nothing kept of an earlier one."""

    def open_it(path: Path, size: tuple[int, int] = WIDE, *, dark: bool = False) -> Opened:
        chromium.get("about:blank")
        width, height = size
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
        )
        media = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a click need not wait for scrolling
        ]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        # A page whose script calls alert would hang the driver: it is counted instead.
        script = "window.alert = (said) => { window.alerted = String(said); };"
        chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        for kind in ("browser", "performance"):
            chromium.get_log(kind)
        page = Opened(chromium, path)
        page.reload()
        chromium.execute_script("try { localStorage.clear(); } catch { /* it has none */ }")
        page.reload()
        return page

    return open_it
