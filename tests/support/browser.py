"""A real browser without a window, for pages on disk and for servers on this machine."""

import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# As root Chromium starts without its sandbox only.
SWITCHES = ("--no-sandbox", "--disable-dev-shm-usage")


@dataclass
class Seen:
    """A page, and what its browser complained of: errors of its scripts, addresses that could not be had."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def abort(self, route: Any) -> None:
        """Abort a request, and note its address."""
        self.left.append(route.request.url)
        route.abort()


def _is_here(address: str) -> bool:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme in ("file", "data", "blob") or parts.hostname in ("127.0.0.1", "localhost", "::1")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; skip the test, saying why, where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} on this machine")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*SWITCHES])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, page: Path | str, width: int = 1200, height: int = 800, **more: Any) -> Iterator[Seen]:
    """Open a page, a file or an address, in a fresh context of a size, px.

    Requests that would leave this machine are aborted; `Seen.left` has their addresses.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **more)
    try:
        seen = Seen(context.new_page())
        seen.page.set_default_timeout(20_000)
        seen.page.on("console", lambda said: seen.complaints.append(said.text) if said.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("requestfailed", lambda request: seen.complaints.append(f"not had: {request.url}"))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        context.route(lambda address: not _is_here(address), seen.abort)
        seen.page.goto(page.as_uri() if isinstance(page, Path) else page)
        yield seen
    finally:
        context.close()
