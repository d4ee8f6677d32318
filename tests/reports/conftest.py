"""Chromium for the tests of all pages, offline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from browsers import chromium_in, show_at
from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[WebDriver]:
    with chromium_in(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def opened(chromium, tmp_path) -> Iterator[Callable[..., WebDriver]]:
    """Factory: a page in the browser, which by the end must have said and asked for nothing."""

    def open_page(page: str, width: int = 1200, scheme: str = "light") -> WebDriver:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        show_at(chromium, width, scheme)
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get(path.as_uri())
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"].endswith("WillBeSent")]
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in urls) == 1
