"""The report in a real browser: quiet, offline, complete, on any screen and on paper."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser

from results.charts.breakdown import breakdown
from results.charts.curves import without_effect
from results.charts.frames import show_guests
from results.ranked_run import BASELINE, YARDSTICK, RankedRun
from tests.support.cluster.processes import wait_until
from tests.support.opening import Opened, opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def page(browser: Browser, report: Path) -> Iterator[Opened]:
    """Return the report on a wide screen."""
    with opened(browser, report) as found:
        yield found


@pytest.fixture(scope="module")
def phone(browser: Browser, report: Path) -> Iterator[Opened]:
    """Return the report on a phone."""
    with opened(browser, report, width=390) as found:
        yield found


@pytest.fixture(scope="module")
def night(browser: Browser, report: Path) -> Iterator[Opened]:
    """Return the report on a dark screen."""
    with opened(browser, report, scheme="dark") as found:
        yield found


@pytest.fixture(params=["page", "phone", "night"])
def shown(request: pytest.FixtureRequest) -> Opened:
    """Return the report on each kind of screen."""
    found: Opened = request.getfixturevalue(request.param)
    return found


def test_it_is_quiet_and_offline(shown: Opened, report: Path) -> None:
    """Nothing is said on the console, not even a warning, and nothing but the file is asked for."""
    assert shown.said == []
    assert shown.asked == [report.as_uri()]


def test_every_row_is_drawn(shown: Opened, ranked: RankedRun) -> None:
    """Each chart has as many marks as the data behind it has rows."""
    summary = ranked.summary
    policies, guests = summary["policy"].n_unique(), summary["guest"].n_unique()
    compared = summary.filter(pl.col("role") != BASELINE).height
    standing = show_guests(summary).height
    parts = breakdown(ranked, show_guests(summary)).height
    installable = summary.filter(pl.col("role") != YARDSTICK)["policy"].n_unique()

    assert (policies, guests, compared, standing, parts) == (6, 4, 20, 2, 108)
    assert shown.marks("grid-0", "rect") == summary.height
    curved = compared - guests * len(without_effect(summary))
    assert shown.marks("vcpus-0", "symbol") == shown.marks("memory-0", "symbol") == curved > 0
    assert shown.marks("vcpus-0", "rule", layer="layer_1") == curved
    assert shown.marks("knob-0-0", "symbol") == 3 * guests
    assert shown.marks("parts-0", "rect") == parts
    assert shown.marks("overhead-0", "rect") == parts - policies * standing
    assert shown.marks("windows-0", "area") == policies
    assert shown.marks("trade-0", "symbol") == installable * standing


def test_the_map_says_its_numbers(page: Opened, ranked: RankedRun) -> None:
    """Each cell of the map holds the change that the summary has for it."""
    texts = page.page.locator("#grid-0 svg.marks g.mark-text.role-mark > text").all_text_contents()

    changes = [row["difference_percent"] for row in ranked.summary.iter_rows(named=True)]
    # From 100 % on a tenth of a per cent has no room and says nothing.
    signed = [f"{change:+.1f}" if abs(change) < 99.95 else f"{change:+.0f}" for change in changes]
    expected = ["0" if change == 0 else text.replace("-", "−") for text, change in zip(signed, changes, strict=True)]
    assert sorted(text.removeprefix("~") for text in texts) == sorted(expected)


def test_a_phone_does_not_scroll_sideways(phone: Opened) -> None:
    """At 390 px the page is as wide as the screen, and so is each chart, drawn for it and not just scaled down."""
    widths = phone.evaluate("[...document.querySelectorAll('.chart svg.marks')].map(svg => svg.viewBox.baseVal.width)")

    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    assert len(widths) == 8
    assert max(widths) < 390


def test_a_turned_screen_is_drawn_anew(browser: Browser, report: Path) -> None:
    """Where a screen becomes wide, charts become wide as well."""
    width = "document.querySelector('#grid-0 svg.marks')?.viewBox.baseVal.width"
    with opened(browser, report, width=390) as found:
        narrow = found.evaluate(width)
        found.page.set_viewport_size({"width": 1280, "height": 900})
        # Not by playwright's own way to wait, which makes code of a text, as the page forbids, if it has to look twice.
        wait_until(lambda: found.evaluate(f"{width} > 600"))
        found.wait_until_drawn()

        assert narrow < 390
        assert found.said == []


def test_letters_stand_out_in_the_dark(night: Opened) -> None:
    """On a dark screen page and charts have light letters on a dark ground."""
    ground = night.evaluate("getComputedStyle(document.body).backgroundColor")
    letters = night.evaluate("document.querySelector('#grid-0 .role-axis-label text').getAttribute('fill')")

    assert ground == "rgb(15, 20, 25)"
    assert letters == "#e6edf3"


def test_paper_is_wide_and_white(shown: Opened) -> None:
    """Printed from any screen, charts are those of the wide page in dark letters, and nothing to click is there."""
    shown.page.emulate_media(media="print")
    visible = shown.evaluate(
        "[...document.querySelectorAll('figure')].map(figure => [...figure.querySelectorAll('svg.marks')]"
        ".filter(svg => svg.checkVisibility()).map(svg => [svg.viewBox.baseVal.width > 600,"
        " svg.querySelector('.role-axis-label text').getAttribute('fill')]))"
    )
    clickable = shown.evaluate(
        "[...document.querySelectorAll('nav, button, summary')].filter(one => one.checkVisibility()).length"
    )
    pages = shown.page.pdf(format="A4")
    shown.page.emulate_media(media="screen")

    assert visible == [[[True, "#1f2328"]]] * 8
    assert clickable == 0
    assert pages.startswith(b"%PDF")


def test_the_data_can_be_saved(page: Opened, ranked: RankedRun, tmp_path: Path) -> None:
    """The buttons save the summary with its digits, and the counters of all cells as Parquet."""
    with page.page.expect_download() as csv:
        page.page.click("button[data-table=summary][data-form=csv]")
    with page.page.expect_download() as parquet:
        page.page.click("button[data-table=cells-parquet]")
    csv.value.save_as(tmp_path / "summary.csv")
    parquet.value.save_as(tmp_path / "cells.parquet")

    summary = pl.read_csv(tmp_path / "summary.csv")
    assert csv.value.suggested_filename == "small-summary.csv"
    assert summary["elapsed_s"].to_list() == ranked.summary["elapsed_s"].to_list()
    assert pl.read_parquet(tmp_path / "cells.parquet").height == ranked.run.scan("cells").collect().height == 48
