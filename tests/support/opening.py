"""Opening a report in a browser, with everything recorded that a report must not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Browser, Page

TIMEOUT_MS: Final = 120_000
"""A loaded machine draws slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A drawn page, and what it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def marks(self, chart: str, kind: str, layer: str = "marks") -> int:
        """Count the marks of a kind in a chart on the screen, of one layer if named; legends and axes do not count."""
        group = f"g.mark-{kind}.role-mark[class*='{layer}']"
        return self.page.locator(f"#{chart} svg.marks {group} > :is(path, line, text)").count()

    def wait_until_drawn(self) -> None:
        """Wait until all charts are as the screen wants them."""
        self.page.wait_for_selector("html[data-charts=drawn]", timeout=TIMEOUT_MS)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.page.evaluate(script)


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Opened]:
    """Open a file in a window of its own; requests for anything else are refused and recorded."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(page=context.new_page())
    found.page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
    found.page.on("request", lambda request: found.asked.append(request.url))
    context.route("**/*", lambda route: route.continue_() if route.request.url == path.as_uri() else route.abort())
    try:
        found.page.goto(path.as_uri(), timeout=TIMEOUT_MS)
        found.wait_until_drawn()
        yield found
    finally:
        context.close()
