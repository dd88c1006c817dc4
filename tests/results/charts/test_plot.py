"""`sweep plot`: files for papers, pictures for terminals, and what it says when it can't."""

import re
from pathlib import Path

import polars as pl
import pytest

from results.charts.export import FORMATS, chart_bytes, paper_spec
from results.charts.terminal import PICTURES, round_ticks
from results.charts.theme import LAYOUTS
from results.ranked_run import BASELINE, RankedRun
from results.report.figures import FIGURES, KINDS, Figure
from sweep.commands import plot
from sweep.exit_codes import ExitCode
from tests.support.calling import call, sweep


def test_help_names_what_there_is() -> None:
    """The names that help and errors list are those of the charts and layouts."""
    assert plot.CHARTS == tuple(KINDS)
    assert set(plot.LAYOUTS) == set(LAYOUTS)
    assert set(KINDS.values()) == set(FIGURES)
    assert set(PICTURES) < set(KINDS)


@pytest.mark.parametrize(
    ("chart", "mark", "count"),
    [
        ("grid", "rect", 24),
        ("changes", "symbol", 20),
        ("knobs", "symbol", 12),
        ("windows", "area", 6),
        ("trade-off", "symbol", 10),
    ],
)
def test_a_drawing_has_a_mark_per_row(ranked: RankedRun, chart: str, mark: str, count: int) -> None:
    """The SVG for a paper has as many marks as the chart has rows: six policies, four guests, the baseline left out."""
    figures = FIGURES[KINDS[chart]](ranked, ranked.summary)
    figure = next(figure for figure in figures if figure.kind == chart)

    assert marks(figure, mark) == count


@pytest.mark.parametrize("over", ["vcpus", "memory"])
@pytest.mark.parametrize(("others", "drawn"), [("no difference", 4), ("not enough replicates", 20)])
def test_a_policy_that_makes_no_difference_has_no_curve(ranked: RankedRun, over: str, others: str, drawn: int) -> None:
    """A policy without a difference on any guest is named in place of a flat line; one that is undecided is drawn."""
    sure = pl.when(pl.col("policy") == "tdp").then(pl.lit("better")).otherwise(pl.lit(others))
    known = ranked.summary.with_columns(verdict=sure)
    (figure,) = [figure for figure in FIGURES[KINDS[over]](ranked, known) if figure.kind == over]

    named = re.findall("`(.*?)`", figure.caption.partition("no difference on any guest: ")[2])

    assert marks(figure, "symbol") == drawn
    assert sorted(named) == (sorted(set(known["policy"]) - {"kvm-3.0", "tdp"}) if drawn == 4 else [])


@pytest.mark.parametrize("over", ["vcpus", "memory"])
def test_where_nothing_makes_a_difference_all_is_drawn(ranked: RankedRun, over: str) -> None:
    """If no policy differs, each has a curve all the same, and none is named as left out."""
    known = ranked.summary.with_columns(verdict=pl.lit("no difference"))
    (figure,) = [figure for figure in FIGURES[KINDS[over]](ranked, known) if figure.kind == over]

    assert marks(figure, "symbol") == 20
    assert "Not drawn" not in figure.caption


def test_files_are_what_their_ending_says(project: Path, run: Path, tmp_path: Path) -> None:
    """SVG and PNG come out as such, and the same run gives the same bytes."""
    for name in ("a.svg", "b.svg", "c.png"):
        sweep(project, "plot", str(run), "--chart", "grid", "-o", str(tmp_path / name))

    first = (tmp_path / "a.svg").read_bytes()
    assert first.startswith(b"<svg ")
    assert first == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("chart", PICTURES)
def test_a_terminal_shows_every_policy(ranked: RankedRun, chart: str) -> None:
    """Each policy has a line of its own in a picture, which is as wide as the terminal and plain text."""
    picture = PICTURES[chart](ranked, ranked.summary, 90)

    lines = [line for line in picture.splitlines() if "┤" in line]
    labels = ranked.summary.sort("rank")["label"].unique(maintain_order=True).to_list()
    expected = [label for label in labels if chart != "changes" or BASELINE not in label]
    assert [line.partition("┤")[0].strip() for line in lines] == expected
    assert max(len(line) for line in picture.splitlines()) <= 90
    assert "\x1b" not in picture


def test_a_digit_stands_for_each_guest(ranked: RankedRun) -> None:
    """A policy that makes everything slower has all its guests to the right of zero."""
    picture = PICTURES["changes"](ranked, ranked.summary, 200)

    (line,) = [line for line in picture.splitlines() if "always-emulate" in line]
    left, _, right = line.partition("┊")
    assert set("12") & set(left) == set()
    assert set("12") & set(right)


def test_the_first_workload_is_that_of_the_file(ranked: RankedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --workload the first one of the sweep's file is drawn, and those that it may name come in that order."""
    names = ("idle", "build", "again")
    several = pl.concat([ranked.summary.with_columns(workload=pl.lit(name)) for name in names])

    drawn = plot.of_workload(several, {"workloads": [{"label": name} for name in names]}, None)

    assert drawn["workload"].unique().to_list() == ["idle"]
    assert "idle is drawn; --workload also takes build, again." in capsys.readouterr().err


@pytest.mark.parametrize(("high", "expected"), [(79.1, [0, 20, 40, 60]), (0.8, [0, 0.2, 0.4, 0.6, 0.8]), (0.0, [0])])
def test_ticks_are_round(high: float, expected: list[float]) -> None:
    """Ticks of a picture are multiples of 1, 2 or 5 times a power of ten, from zero to the highest value."""
    assert round_ticks(high, 4) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--chart", "pie"], ["pie", *plot.CHARTS]),
        (["--chart", "grid"], ["no picture for terminals", "changes", "-o grid.svg"]),
        (["--layout", "wall"], ["wall", *plot.LAYOUTS]),
        (["-o", "chart.gif"], ["chart.gif", *FORMATS]),
        (["--workload", "idle"], ["idle", "kernbench"]),
        (["--chart", "knobs", "--knob", "speed", "-o", "x.svg"], ["speed", "no such knob", "allowed: flood_threshold"]),
        (["--chart", "knobs", "--knob", "unsync", "-o", "x.svg"], ["unsync", "allowed: flood_threshold"]),
        (["--chart", "knobs", "--knob", "speed"], ["speed", "no such knob", "allowed: flood_threshold"]),
        (
            ["--chart", "grid", "--knob", "flood_threshold", "-o", "x.svg"],
            ["--knob flood_threshold", "not for", "grid"],
        ),
        (["-o", "no/such/folder/x.svg"], ["no/such/folder/x.svg", "can't be written"]),
    ],
)
def test_what_cannot_be_drawn_is_said(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *,
    words: list[str],
    expected: list[str],
) -> None:
    """A wrong name is an error of use that says what was found and what is allowed, and writes nothing."""
    monkeypatch.chdir(tmp_path)

    code = call(monkeypatch, "plot", str(run), *words)

    said = capsys.readouterr().err
    assert code == ExitCode.USAGE
    assert [word for word in expected if word not in said] == []
    assert list(tmp_path.iterdir()) == []


def marks(figure: Figure, mark: str) -> int:
    """Return how many marks of a kind the drawing for a paper has."""
    drawn = chart_bytes(paper_spec(figure.draw(LAYOUTS["paper"]), LAYOUTS["paper"]), "svg").decode()
    groups = re.findall(rf'<g class="mark-{mark} role-mark[^>]*>(.*?)</g>', drawn)
    return sum(group.count("<path") for group in groups)
