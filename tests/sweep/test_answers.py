"""`compare`, `explain`, `price` and `summarize` as a user meets them, on a real run that is kept with the tests."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.exit_codes import ExitCode
from tests.sweep.test_cli import call

RUN = str(Path(__file__).resolve().parents[1] / "data" / "runs" / "v2")
OLD = str(Path(__file__).resolve().parents[1] / "data" / "runs" / "v1")
COSTS = Path(__file__).resolve().parents[2] / "configs" / "costs" / "nehalem-2011.yaml"


class Ended:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, captured: pytest.CaptureFixture[str]) -> None:
        self.code = code
        self.out, self.err = captured.readouterr()


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Return what runs a command line in this process."""
    return lambda *words: Ended(call(monkeypatch, *words), capsys)


def test_compare_prints_a_table(sweep: Callable[..., Ended]) -> None:
    """The table has values, paired changes with marks and the legend; a mixed cell would be warned of."""
    ended = sweep(
        "compare", RUN, "--baseline", "kvm-3.0", "--rows", "workload", "--cols", "policy", "--metric", "exits"
    )

    assert ended.code == ExitCode.OK
    assert ended.out.startswith("exits, mean of 2 replicates; change against kvm-3.0 in %, paired")
    assert "-100.00 ±0.00 *" in ended.out
    assert "warning" not in ended.out


@pytest.mark.parametrize(
    ("condition", "baseline", "code"),
    [("regress>2%", "kvm-3.3", ExitCode.REGRESSED), ("regress>2%", "kvm-3.0", ExitCode.OK)],
)
def test_conditions_have_an_exit_code(
    sweep: Callable[..., Ended], condition: str, baseline: str, code: ExitCode
) -> None:
    """A met condition ends with its own code and a line per cell on stderr; the table is printed all the same."""
    ended = sweep("compare", RUN, "--baseline", baseline, "--where", "policy!=tdp", "--fail-on", condition, "--list")

    assert ended.code == code
    assert "verdict" in ended.out
    met = [line for line in ended.err.splitlines() if line.startswith("--fail-on regress>2%: elapsed, ")]
    assert len(met) == (code == ExitCode.REGRESSED)


def test_compare_answers_programs(sweep: Callable[..., Ended]) -> None:
    """JSON and CSV hold the same numbers, and what a condition found."""
    words = ("compare", RUN, "--metric", "elapsed", "--metric", "exits", "--fail-on", "improve>2%")
    as_json, as_csv = sweep(*words, "--json"), sweep(*words, "--csv")

    content, rows = json.loads(as_json.out), list(csv.DictReader(io.StringIO(as_csv.out)))
    cells = [cell for table in content["tables"] for cell in table["cells"]]
    assert [float(row["value"]) for row in rows] == [cell["value"] for cell in cells]
    assert {row["metric"] for row in rows} == {"elapsed", "exits"}
    assert {found["policy"] for found in content["failed"]} == {"kvm-3.3", "tdp"}
    assert as_json.code == as_csv.code == ExitCode.REGRESSED


def test_two_runs_of_the_same_cells_do_not_differ(sweep: Callable[..., Ended]) -> None:
    """Runs of two versions of the format hold the same answers, and no condition is met."""
    ended = sweep("compare", OLD, RUN, "--metric", "exits", "--fail-on", "change>0%")

    assert ended.code == ExitCode.OK
    assert "the code differs" in " ".join(ended.out.split())


def test_the_front_has_no_bounds(sweep: Callable[..., Ended]) -> None:
    """`--pareto` shows who is beaten by whom, and leaves nested paging out."""
    ended = sweep("compare", RUN, "--pareto", "--json")

    cells = {cell["policy"]: cell["beaten_by"] for cell in json.loads(ended.out)["cells"]}
    assert cells == {"kvm-3.0": "kvm-3.3", "kvm-3.3": None}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("compare", RUN, "--metric", "exit"), "unknown metric 'exit'. Did you mean 'exits'"),
        (("compare", RUN, "--fail-on", "regress"), "expected WORD>NUMBER%, as in 'regress>2%'"),
        (("compare", RUN, OLD, RUN), "compare takes one run or two, found 3"),
        (("compare", RUN, "--pareto", "--rows", "guest"), "--pareto shows one run, cell by cell, and takes no --rows"),
        (("compare", RUN, "--json", "--csv"), "--json, --csv and --md exclude each other"),
        (("compare", "nowhere"), "nowhere: no run here"),
        (
            ("explain", RUN, "--policy", "kvm-9"),
            "no finished cell has policy 'kvm-9'. There are: kvm-3.0, kvm-3.3, tdp",
        ),
        (("explain", OLD, "--policy", "tdp", "--activities"), "made before they were counted. Run its sweep again"),
        (("price", RUN, "--costs", "nehalem-2011:low", "--sample", "5"), "is one end of the ranges"),
        (("price", RUN, "--costs", "nowhere"), "costs: no file for 'nowhere'"),
        (("price", RUN, "--baseline", "kvm-9"), "no cell has the baseline 'kvm-9'"),
    ],
)
def test_wrong_words_are_errors_of_use(sweep: Callable[..., Ended], words: tuple[str, ...], expected: str) -> None:
    """What is asked wrongly ends with code 2 and what to do instead, on stderr."""
    ended = sweep(*words)

    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert expected in ended.err


def test_explain_adds_up_on_a_real_run(sweep: Callable[..., Ended]) -> None:
    """Lines, windows and activities of a real run add up to the difference of the comparison, to ns and cycle."""
    words = ("--policy", "kvm-3.3", "--vs", "kvm-3.0", "--windows", "7", "--activities", "--json")
    explained = json.loads(sweep("explain", RUN, *words).out)["explanations"]
    compared = json.loads(sweep("compare", RUN, "--json").out)["tables"][0]["cells"]

    (found,) = explained
    means = {cell["policy"]: cell["value"] for cell in compared}
    assert found["difference_ns"] == round(1e9 * 2 * (means["kvm-3.3"] - means["kvm-3.0"]))
    assert sum(line["elapsed_ns"] for line in found["lines"]) == found["difference_ns"]
    assert sum(row["elapsed_ns"] for row in found["windows"]) == found["difference_ns"]
    cycles = [line["cycles"] for line in found["lines"]]
    assert all(isinstance(one, int) for one in cycles)
    assert sum(cycles) == sum(row["cycles"] for row in found["activities"]) == found["difference_cycles"]
    assert {"fork", "exit", "page_reuse"} < {row["activity"] for row in found["activities"]}


def test_explain_prints_what_adds_up(sweep: Callable[..., Ended]) -> None:
    """The printed parts add up by hand to the printed sum; CSV has a row for each line."""
    text = sweep("explain", RUN, "--policy", "kvm-3.3").out
    rows = list(csv.DictReader(io.StringIO(sweep("explain", RUN, "--policy", "kvm-3.3", "--csv").out)))

    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("---")) + 1
    end = next(i for i, line in enumerate(lines) if line.startswith("sum "))
    parts = [int(line.split()[-2].replace(",", "")) for line in lines[start:end] if not line.startswith(" ")]
    assert sum(parts) == int(lines[end].split()[-2].replace(",", "")) == sum(int(row["elapsed_ns"]) for row in rows)


def test_price_samples_the_ranges(sweep: Callable[..., Ended]) -> None:
    """Drawn price lists give an interval of each conclusion; the same seed gives the same, another one another."""
    words = ("price", RUN, "--sample", "200", "--json")

    first, again, other = (json.loads(sweep(*words, "--seed", seed).out) for seed in ("1", "1", "2"))

    assert first == again != other
    rows = {row["policy"]: row for row in first["conclusions"]}
    assert set(rows) == {"kvm-3.3", "tdp"}
    for row in rows.values():
        assert row["cost_low"] < row["difference_percent"] < row["cost_high"] or row["policy"] == "tdp"
        assert sum(row[f"share_{kind}"] for kind in ("better", "worse", "same", "open")) == pytest.approx(1.0)
    assert {row["cost"] for row in first["tornado"]} >= {"cpu_ghz", "native_time_scale", "shadow.page_walks"}


def test_price_takes_a_file(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """Prices from a file, ranges included, change differences without a simulation; one cost can decide a verdict."""
    costs = tmp_path / "cheap.yaml"
    text = COSTS.read_text(encoding="utf-8").replace("name: nehalem-2011", "name: cheap")
    for counter, cycles in (("page_walks", 600), ("rep_iterations", 400), ("mmu_pte_write", 300)):
        old = f"  {counter}:\n    cycles: {cycles}\n"
        assert old in text
        text = text.replace(old, f"  {counter}:\n    cycles: 0\n")
    text = text.replace("locked_cycles: 300\n    low: 150", "locked_cycles: 0\n    low: 0")
    text = text.replace("low: 300\n    high: 1000", "low: 0\n    high: 1000")
    text = text.replace("low: 200\n    high: 1000", "low: 0\n    high: 1000")
    costs.write_text(text, encoding="utf-8")

    own, cheap = (json.loads(sweep("price", RUN, *more, "--json").out) for more in ((), ("--costs", str(costs))))

    difference = {
        name: next(row["difference_percent"] for row in found["conclusions"] if row["policy"] == "kvm-3.3")
        for name, found in (("own", own), ("cheap", cheap))
    }
    assert difference["own"] < difference["cheap"] < 0
    assert sweep("summarize", RUN, "--costs", str(costs)).code == ExitCode.OK


def test_price_shows_a_tornado(sweep: Callable[..., Ended]) -> None:
    """The table of costs is ranked by how far each moves a difference, longest bar first."""
    rows = list(csv.DictReader(io.StringIO(sweep("price", RUN, "--tornado", "--csv").out)))
    text = sweep("price", RUN, "--tornado").out

    most = max(rows, key=lambda row: float(row["change"]))["cost"]
    first = next(line for line in text.splitlines() if "█" in line)
    assert first.startswith(most)


def test_price_lists_only_what_moves_something(sweep: Callable[..., Ended]) -> None:
    """A cost of events that never happen moves nothing, rounding of doubles included, and has no line in the table."""
    rows = list(csv.DictReader(io.StringIO(sweep("price", RUN, "--tornado", "--csv").out)))
    text = sweep("price", RUN, "--tornado").out

    assert {row["change"] for row in rows if row["cost"] == "nested.exits"} == {"0.0"}
    assert "nested.exits" not in text
    assert "1 more moves nothing (less than 0.005 %)" in " ".join(text.split())
    assert " 0.00 " not in text


def test_summarize_says_what_did_nothing(sweep: Callable[..., Ended]) -> None:
    """The summary ends with what the sweep varied for nothing, in text, Markdown and JSON."""
    text, markdown = sweep("summarize", RUN).out, sweep("summarize", RUN, "--md").out
    notes = json.loads(sweep("summarize", RUN, "--json").out)["notes"]

    assert notes == [note for note in notes if note.startswith("the pool was never full")] != []
    assert "note: the pool was never full" in text
    assert "- the pool was never full" in markdown


def test_prices_without_ranges_leave_nothing_to_vary(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """Under a cost model of which no number has a range there is no tornado, and that is no error."""
    entry = re.compile(r"((?:cycles|value): (\S+)\n(?:    locked_cycles: \S+\n)?) +low: \S+\n +high: \S+\n")
    path = tmp_path / "flat.yaml"
    path.write_text(entry.sub(r"\1    low: \2\n    high: \2\n", COSTS.read_text(encoding="utf-8")), encoding="utf-8")
    path.write_text(
        re.sub(
            r"^  value: (.*)\n    low: .*\n    high: .*\n",
            r"  value: \1\n  low: \1\n  high: \1\n",
            path.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        ),
        encoding="utf-8",
    )

    ended = sweep("price", RUN, "--costs", str(path))

    assert ended.code == ExitCode.OK, ended.err
    assert "no cost of this model has a range" in ended.out


def test_summaries_are_the_same_each_time(sweep: Callable[..., Ended]) -> None:
    """Threads may end in any order: the same run and prices give the same bytes."""
    found = {sweep("summarize", RUN, "--json").out for _ in range(5)}

    assert len(found) == 1


def test_one_damaged_run_hides_no_other(
    sweep: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of runs names the one that can't be read, with the file, and shows the others."""
    for name in ("good", "bad"):
        shutil.copytree(RUN, tmp_path / "runs" / name)
    (part,) = (tmp_path / "runs" / "bad" / "cells").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    monkeypatch.chdir(tmp_path)

    ended = sweep("status")

    assert ended.code == ExitCode.OK
    assert f"runs/bad  can't be read: runs/bad/cells/{part.name}" in ended.out
    assert ended.out.startswith("runs/good ")
