"""The page of a run as a file: the same bytes each time, never too large, and safe whatever names are in it."""

import re
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from results.ranked_run import RankedRun
from results.report.html import json_block, phrase, script, text
from results.report.page import SUMMARY_ROWS_MAX, report_html
from sweep.spec.costs import load_cost_model
from tests.support.calling import sweep
from tests.support.made_tables import Made
from tests.support.opening import opened

pytestmark = pytest.mark.timeout(900)

BYTES_MAX: Final = 10_000_000
HOSTILE: Final = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<img src=x onerror='window.hacked = 3'>",
    '" onmouseover="window.hacked = 4',
)


def page_of(made: Made, policies: tuple[str, ...], name: str = "made") -> str:
    """Return the report of a made-up run."""
    made.spec = {"name": name, "policies": [{"name": one} for one in policies], "workloads": []}
    made.provenance = [{"command": f"sweep run {name}", "host": name, "code_fingerprint": "f"}]
    ranked = RankedRun(run=made, costs=load_cost_model("nehalem-2011"), baseline=policies[0])
    return report_html(ranked, f"sweep report {name}")


def test_the_same_run_gives_the_same_bytes(project: Path, run: Path, report: Path, tmp_path: Path) -> None:
    """Two processes with different hash seeds write the same file, but for its name in the command."""
    again = tmp_path / "small.html"
    sweep(project, "report", str(run), "-o", str(again), PYTHONHASHSEED="7")

    assert again.read_bytes().replace(str(again).encode(), str(report).encode()) == report.read_bytes()


def test_the_page_says_how_to_make_it_again(run: Path, report: Path) -> None:
    """The commands of the run and of the page are in the page."""
    page = report.read_text(encoding="utf-8")

    assert text(f"sweep report {run} -o {report}") in page
    assert "sweep run configs/smoke.yaml -s name=small" in page


def test_failures_are_shown(project: Path, tmp_path: Path) -> None:
    """The report of a run with failed cells says how many and why, before the data."""
    out = tmp_path / "failed.html"
    sweep(project, "report", "tests/data/runs/v1", "-o", str(out), "--allow-partial")

    page = out.read_text(encoding="utf-8")
    failed = page[page.index('id="failures"') : page.index('id="provenance"')]
    assert re.search(r"<strong>\d+ cells failed from 1 cause", failed)
    assert "16 MiB" in failed or "16m" in failed


@pytest.mark.slow
def test_a_huge_run_has_a_small_page() -> None:
    """A hundred thousand cells – 64 policies, 8 workloads, 100 guests, 2 replicates – give less than 10 MB."""
    policies = tuple(f"policy-{i}" for i in range(64))
    made = Made(policies=policies, workloads=8, guests=100, replicates=2)

    page = page_of(made, policies)

    code = re.sub("</?code>", "`", page)
    assert made.rows.height == 102_400
    assert len(page.encode()) < BYTES_MAX
    assert "40 of 64 policies are drawn" in page
    assert "48 of 100 guests are drawn" in page
    assert f"{SUMMARY_ROWS_MAX:,} of 51,200 rows of the summary are here; `sweep summarize RUN --csv`" in code
    assert "`sweep export RUN -o cells.csv` writes them to one file" in code


@pytest.mark.slow
def test_hostile_names_are_harmless(browser: Browser, tmp_path: Path) -> None:
    """Names that are HTML or JavaScript are shown as they are: nothing of them runs, no chart breaks."""
    policies = ("base", *HOSTILE)
    path = tmp_path / "hostile.html"
    path.write_text(page_of(Made(policies=policies, workloads=1, guests=2, replicates=2), policies, HOSTILE[1]))

    with opened(browser, path) as found:
        found.page.hover("#grid-0 svg.marks g.mark-rect.role-mark > path >> nth=2", force=True)
        found.page.wait_for_selector("#vg-tooltip-element.visible")

        assert found.evaluate("window.hacked") is None
        assert found.evaluate("document.querySelectorAll('script').length") == 6
        assert found.page.locator("h1").text_content() == HOSTILE[1]
        assert found.marks("grid-0", "rect") == len(policies) * 2
        assert found.said == []
        assert found.asked == [path.as_uri()]


@pytest.mark.parametrize("name", HOSTILE)
def test_pieces_escape_what_they_are_given(name: str) -> None:
    """Texts, phrases and blocks of data hold no sign that could end what they stand in."""
    block = json_block("data", {"name": name})

    assert not set(text(name)) & set("<>\"'")
    assert not set(phrase(name)) & set("<>\"'")
    assert block.count("<") == 2


def test_a_script_cannot_end_early() -> None:
    """A script that holds its own end is refused, for a page would cut it there."""
    with pytest.raises(ValueError, match="would end it early"):
        script("const x = '</script>'")
