"""`compare`, `explain`, `price` and `summarize` as a user meets them, on a real run that is kept with the tests."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES
from results.store.labels import LABELS_FILE, LABELS_SCHEMA, write_labels
from results.store.lost import COSTS_FILE
from results.store.rows import Trace, cells_table, windows_table
from results.store.run_store import RunStore
from sweep.exit_codes import ExitCode
from tests.support import fakes
from tests.support.calling import call
from tests.support.machines import Interrupted
from tests.support.project import DATA, ROOT
from tests.support.starting import start, write_spec
from tests.support.synthetic import (
    POLICIES,
    PROVENANCE,
    SPEC,
    cell,
    cost,
    make_run,
    model_mapping,
    replicate_batches,
)

RUN = str(DATA / "runs" / "v2")
OLD = str(DATA / "runs" / "v1")
COSTS = ROOT / "configs" / "costs" / "nehalem-2011.yaml"


MISSING = "INCOMPLETE: 6 of 12 cells; 1 of 2 guests have none (2cpu-16m)"
"""What the kept runs lack: one guest of theirs is too small."""
PARTIAL = "--allow-partial"
ANSWERS = {
    "summarize": ("summarize",),
    "compare": ("compare",),
    "compare the front": ("compare", "--pareto"),
    "explain": ("explain", "--policy", "kvm-3.3"),
    "price": ("price",),
}
"""Verbs that answer as text, as Markdown, as CSV and as JSON."""


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
        *("compare", RUN, "--baseline", "kvm-3.0", "--rows", "workload", "--cols", "policy", "--metric", "exits"),
        PARTIAL,
    )

    assert ended.code == ExitCode.OK
    assert ended.out.startswith(f"{MISSING}\nexits, mean of 2 replicates; change against kvm-3.0 in %, paired")
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
    words = ("--baseline", baseline, "--where", "policy!=tdp", "--fail-on", condition, "--list")
    ended = sweep("compare", RUN, *words, PARTIAL)

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
    ended = sweep("compare", OLD, RUN, "--metric", "exits", "--fail-on", "change>0%", PARTIAL)

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
    free = "{cycles: 0, locked_cycles: 0, low: 0, high: 1000, status: assumption, source: this test}"
    text = f"base: {COSTS}\nname: cheap\nsummary: trapped stores are free\nshadow: {{mmu_pte_write: {free}}}\n"
    costs.write_text(text, encoding="utf-8")

    own, cheap = (json.loads(sweep("price", RUN, *more, "--json").out) for more in ((), ("--costs", str(costs))))

    difference = {
        name: next(row["difference_percent"] for row in found["conclusions"] if row["policy"] == "kvm-3.3")
        for name, found in (("own", own), ("cheap", cheap))
    }
    assert difference["own"] < difference["cheap"] < 0
    assert sweep("summarize", RUN, "--costs", str(costs), PARTIAL).code == ExitCode.OK


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
    flat = "low: 1, high: 1, status: assumption, source: this test}"
    quantity, cost = f"{{value: 1, {flat}", f"{{cycles: 1, locked_cycles: 0, {flat}"
    path = tmp_path / "flat.yaml"
    path.write_text(
        f"name: flat\nsummary: without ranges\ncpu_ghz: {quantity}\nnative_time_scale: {quantity}\n"
        f"shadow: {{exits: {cost}}}\nnested: {{exits: {cost}}}\n",
        encoding="utf-8",
    )

    ended = sweep("price", RUN, "--costs", str(path), PARTIAL)

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


@pytest.fixture
def whole(tmp_path: Path) -> RunStore:
    """Return a copy of the kept run whose plan has only what is there."""
    shutil.copytree(RUN, tmp_path / "whole")
    store = RunStore(tmp_path / "whole")
    labels = pl.read_parquet(store.path / LABELS_FILE)
    write_labels(store.storage, [labels.filter(pl.col("guest") != "2cpu-16m")])
    return store


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_of_half_a_run_says_so_first(sweep: Callable[..., Ended], words: tuple[str, ...]) -> None:
    """The first line says what is missing and the exit code is 1, or 0 if that is allowed; the answer is there."""
    verb, *options = words
    ended, allowed = (sweep(verb, RUN, *options, *more) for more in ((), (PARTIAL,)))
    markdown = sweep(verb, RUN, *options, "--md")

    assert (ended.code, allowed.code) == (ExitCode.CELLS_FAILED, ExitCode.OK)
    assert ended.out == allowed.out
    assert ended.out.splitlines()[0] == MISSING
    assert "kvm-3.3" in ended.out
    assert markdown.out.splitlines()[:2] == [MISSING, ""]


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_of_half_a_run_can_be_parsed(sweep: Callable[..., Ended], words: tuple[str, ...]) -> None:
    """JSON has a field for what is missing; beside CSV the line is on stderr."""
    verb, *options = words
    as_json, as_csv = (sweep(verb, RUN, *options, form) for form in ("--json", "--csv"))

    (found,) = json.loads(as_json.out)["incomplete"].values()
    assert (found["cells"], found["planned"], found["guests_without"]) == (6, 12, ["2cpu-16m"])
    assert found["text"] == MISSING == as_csv.err.splitlines()[0]
    assert all(None not in row and None not in row.values() for row in csv.DictReader(io.StringIO(as_csv.out)))
    assert as_json.code == as_csv.code == ExitCode.CELLS_FAILED


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_of_a_whole_run_says_nothing_of_it(
    sweep: Callable[..., Ended], whole: RunStore, words: tuple[str, ...]
) -> None:
    """A run that has all planned cells is answered about with code 0 and no word about it."""
    verb, *options = words
    text, as_json = (sweep(verb, whole.name, *options, *more) for more in ((), ("--json",)))

    assert (text.code, as_json.code) == (ExitCode.OK, ExitCode.OK)
    assert "INCOMPLETE" not in text.out + text.err
    assert json.loads(as_json.out)["incomplete"] is None


def test_a_chart_of_half_a_run_says_so(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """In a terminal the line stands above the picture; beside a file it is on stderr, and the file is as it was."""
    out = tmp_path / "chart.svg"
    picture, drawn = sweep("plot", RUN), sweep("plot", RUN, "-o", str(out))

    assert picture.out.splitlines()[0] == MISSING == drawn.err.splitlines()[0]
    assert picture.code == drawn.code == ExitCode.CELLS_FAILED
    assert out.read_text(encoding="utf-8").startswith("<svg")
    assert sweep("plot", RUN, PARTIAL).code == ExitCode.OK


def test_a_report_of_half_a_run_says_so(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """The title says how many guests there are, the verdict begins with what is missing, and stdout does."""
    out = tmp_path / "report.html"
    ended = sweep("report", RUN, "-o", str(out))

    page = out.read_text(encoding="utf-8")
    assert ended.out.splitlines()[0] == MISSING
    assert ended.code == ExitCode.CELLS_FAILED
    assert "<title>v2, 1 of 2 guests: report of a sweep</title>" in page
    assert page.index(MISSING) < page.index("is the best of") < page.index('id="grid"')


def test_each_of_two_runs_is_looked_at(sweep: Callable[..., Ended], whole: RunStore) -> None:
    """Of two runs that are compared, the one that is incomplete is named."""
    ended = sweep("compare", whole.name, RUN, "--metric", "exits")

    assert ended.out.splitlines()[0] == f"{RUN}: {MISSING}"
    assert ended.code == ExitCode.CELLS_FAILED


def test_a_run_that_is_being_written_is_incomplete(sweep: Callable[..., Ended], whole: RunStore) -> None:
    """While a driver holds a run, all cells may be there and more may come: the answer says that too."""
    last = whole.provenance()[-1]
    del last["ended"]
    whole.write_provenance([last])
    with whole.storage.lock({"host": "here", "pid": "1"}):
        ended = sweep("summarize", whole.name)

    assert ended.out.splitlines()[0] == "INCOMPLETE: 6 of 6 cells; a driver is still at work on it"
    assert ended.code == ExitCode.CELLS_FAILED
    assert sweep("summarize", whole.name).code == ExitCode.OK


def test_of_an_unknown_plan_nothing_is_said(sweep: Callable[..., Ended], whole: RunStore) -> None:
    """A run of a program that wrote neither plan nor prices is answered about as a whole one."""
    for name in (LABELS_FILE, COSTS_FILE):
        whole.storage.delete(name)

    ended = sweep("summarize", whole.name)

    assert ended.code == ExitCode.OK
    assert "INCOMPLETE" not in ended.out + ended.err


@pytest.fixture
def deadly(tmp_path: Path) -> str:
    """Return a run of three replicates, in two of which the host dies under kvm-3.3."""
    return made_deadly(tmp_path / "deadly", "kvm-3.3")


def made_deadly(path: Path, policy: str) -> str:
    """Make a run in which the host dies under a policy in the second and the third replicate."""
    store = make_run(path, replicate_batches(3), dying={policy})
    store.storage.put(COSTS_FILE, json.dumps(model_mapping()).encode())
    cells = store.scan("cells").select(LABELS_SCHEMA.names()).collect()
    write_labels(store.storage, [cells])
    return store.name


@pytest.mark.parametrize(
    "condition", ["regress>1000000%", "improve>1000000%", "change>1000000%", "unsure>0%", "missing", "dies"]
)
def test_no_condition_passes_a_policy_that_kills_the_host(
    sweep: Callable[..., Ended], deadly: str, condition: str
) -> None:
    """Whatever the condition, a policy under which the host dies ends with code 5 and a sentence about it."""
    ended = sweep("compare", deadly, "--fail-on", condition, "--where", "policy=kvm-3.3")

    assert ended.code == ExitCode.REGRESSED
    assert (
        "--fail-on dies: elapsed, policy kvm-3.3, workload kernbench, guest small: the host dies in 2 of 3 replicates"
        in ended.err
    )


def test_a_condition_is_about_the_cells_that_are_compared(sweep: Callable[..., Ended], deadly: str) -> None:
    """Without the policy that kills the host a condition is judged as ever."""
    words = ("compare", deadly, "--fail-on", "regress>1000000%", "--where", "policy!=kvm-3.3")

    assert sweep(*words).code == ExitCode.OK


def test_nothing_passes_where_the_baseline_dies(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """Where the host dies under the baseline no condition can be judged: that fails, and the table says why."""
    run = made_deadly(tmp_path / "run", "kvm-3.0")
    ended = sweep("compare", run, "--fail-on", "regress>1000000%")

    assert ended.code == ExitCode.REGRESSED
    assert "policy kvm-3.0, workload kernbench, guest small: the host dies in 2 of 3 replicates" in ended.err
    assert "the baseline kvm-3.0 is among them: nothing can be compared with it there" in " ".join(ended.out.split())
    cells = json.loads(sweep("compare", run, "--json").out)["tables"][0]["cells"]
    assert {cell["policy"]: cell["verdict"] for cell in cells} == {
        **dict.fromkeys(POLICIES, "baseline dies"),
        "kvm-3.0": "dies",
    }
    assert [cell["difference_percent"] for cell in cells] == [None] * len(POLICIES)


NO_NUMBER: dict[str, Any] = dict.fromkeys(
    ("value", "value_low", "value_high", "difference_percent", "difference_low", "difference_high", "p_holm")
)


def test_compare_shows_the_word_and_no_number(sweep: Callable[..., Ended], deadly: str) -> None:
    """In each form the cell of a policy that kills the host has the verdict `dies` and no number."""
    text, markdown, listed = (sweep("compare", deadly, *more).out for more in ((), ("--md",), ("--list",)))
    cells = json.loads(sweep("compare", deadly, "--json").out)["tables"][0]["cells"]
    rows = list(csv.DictReader(io.StringIO(sweep("compare", deadly, "--csv").out)))

    (cell,) = [cell for cell in cells if cell["policy"] == "kvm-3.3"]
    assert cell.items() >= (NO_NUMBER | {"verdict": "dies"}).items()
    (row,) = [row for row in rows if row["policy"] == "kvm-3.3"]
    assert row.items() >= (dict.fromkeys(NO_NUMBER, "") | {"verdict": "dies"}).items()
    assert " dies " in text.splitlines()[text.splitlines().index(next(x for x in text.splitlines() if "---" in x)) + 1]
    assert "| dies |" in markdown
    (line,) = [line for line in listed.splitlines() if "kvm-3.3" in line]
    assert line.split() == ["kernbench", "small", "kvm-3.3", "dies", "-", "-", "-", "3", "dies"]
    assert "the host dies under kvm-3.3: kernbench on small (2 of 3 replicates)" in " ".join(text.split())


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_no_verb_gives_a_dead_host_a_number(sweep: Callable[..., Ended], deadly: str, words: tuple[str, ...]) -> None:
    """Each answer says `dies` of the policy that kills the host, and in JSON no number stands beside its name."""
    verb, *options = words
    text, content = sweep(verb, deadly, *options), json.loads(sweep(verb, deadly, *options, "--json").out)

    assert "dies" in text.out
    rows = [row for row in objects(content) if row.get("policy") == "kvm-3.3"]
    counted = {"replicates", "vcpus", "memory_mib", "fatal", "native_s", "dies"}
    numbers = {name for row in rows for name, value in row.items() if isinstance(value, int | float)}
    assert rows
    assert numbers <= counted


def objects(content: Any) -> list[dict[str, Any]]:
    """Return all mappings in a piece of JSON."""
    if isinstance(content, dict):
        return [content, *(found for value in content.values() for found in objects(value))]
    return [found for value in content for found in objects(value)] if isinstance(content, list) else []


def test_the_front_and_the_means_leave_out_who_dies(sweep: Callable[..., Ended], deadly: str) -> None:
    """Nobody is beaten by a policy that kills the host, no geometric mean holds it, and both say so."""
    front = json.loads(sweep("compare", deadly, "--pareto", "--json").out)
    both = ("compare", deadly, "--metric", "exits", "--rows", "vcpus,policy", "--cols", "workload")

    assert "kvm-3.3" not in {cell["policy"] for cell in front["cells"]}
    assert "kvm-3.3" not in {cell["beaten_by"] for cell in front["cells"]}
    assert front["deaths"] == [
        {"policy": "kvm-3.3", "workload": "kernbench", "guest": "small", "dies": 2, "replicates": 3}
    ]
    (table,) = json.loads(sweep(*both, "--json").out)["tables"]
    assert table["geomean"] == []
    assert any("geometric means leave out" in warning for warning in table["warnings"])


def test_an_export_names_who_dies(sweep: Callable[..., Ended], deadly: str, tmp_path: Path) -> None:
    """The rows of a policy that kills the host are exported as they are, and a note on stderr names it."""
    ended = sweep("export", deadly, "-o", str(tmp_path / "cells.csv"))

    assert ended.code == ExitCode.OK
    assert "note: the host dies under kvm-3.3: kernbench on small (2 of 3 replicates)" in ended.err


def test_charts_draw_the_word(sweep: Callable[..., Ended], deadly: str, tmp_path: Path) -> None:
    """Each chart that has a place for a policy that kills the host says `dies` in it; the report says so in words."""
    for chart in ("grid", "changes", "time", "overhead", "windows"):
        out = tmp_path / f"{chart}.svg"
        assert sweep("plot", deadly, "--chart", chart, "-o", str(out)).code == ExitCode.OK
        assert ">dies</text>" in out.read_text(encoding="utf-8"), chart
    for chart in ("changes", "time", "overhead"):
        assert "kvm-3.3 dies (host BUG) on small" in sweep("plot", deadly, "--chart", chart).out
    assert sweep("report", deadly, "-o", str(tmp_path / "page.html")).code == ExitCode.OK
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The host dies (BUG) under <code>kvm-3.3</code> on small" in page


def made_idle(path: Path, *, vcpus: int, running: float, interrupted: float) -> str:
    """Make a run of one policy on one trace.

    Args:
        path: where it goes.
        vcpus: those of the guest.
        running: how many run at once.
        interrupted: how many each of 1000 remote flushes in a second of native time interrupts.
    """
    one = cell("kvm-3.0", vcpus=vcpus, guest=f"{vcpus}cpu", workload="recorded")
    facts = Trace(trace_digest="t", window_ns=10**9, native_seconds=1.0, events=1)
    counts = np.zeros((1, 1, len(COUNTER_NAMES)), dtype=np.int64)
    for name, value in (
        ("exits", 1000),
        ("guest_run_ns", running * 1e9),
        ("remote_tlb_flush", 1000),
        ("flush_ipis", 1000 * interrupted),
    ):
        counts[0, 0, COUNTER_INDEX[name]] = round(value)
    store = RunStore(path)
    store.create(SPEC | {"guests": []}, PROVENANCE)
    tables = {"cells": cells_table([one], counts[0], facts), "windows": windows_table([one], counts, facts)}
    store.commit(store.write_part("batch", tables))
    prices = model_mapping(shadow={"exits": cost(1000), "flush_ipis": cost(20_000)})
    store.storage.put(COSTS_FILE, json.dumps(prices).encode())
    return store.name


def test_interrupts_of_idle_vcpus_are_said(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    """Where one of eight vCPUs runs, the summary and the report say which share of the time goes to the other seven."""
    run = made_idle(tmp_path / "run", vcpus=8, running=1.0, interrupted=7.0)
    # 7000 interrupts of 20 µs in 1 s of native time and 1 ms of exits: 0.14 of 1.141 s.
    said = "recorded on 8cpu runs 1.0 of 8 vCPUs at once; the model interrupts idle ones as well, which is about 12.3 %"

    text, as_json = sweep("summarize", run), json.loads(sweep("summarize", run, "--json").out)

    assert f"note: {said}" in " ".join(text.out.split())
    assert [note for note in as_json["notes"] if note.startswith(said)] != []
    assert "docs/explanation/limits.md" in text.out


@pytest.mark.parametrize(
    ("vcpus", "running", "interrupted"),
    [(8, 8.0, 7.0), (8, 1.0, 0.0), (8, 4.0, 3.0), (2, 1.3, 1.0), (1, 1.0, 0.0)],
    ids=["all run", "none is interrupted", "those that run are interrupted", "two may both run", "there is one"],
)
def test_of_vcpus_that_may_run_nothing_is_said(
    sweep: Callable[..., Ended], tmp_path: Path, vcpus: int, running: float, interrupted: float
) -> None:
    """No note where the interrupted vCPUs run, or where an engine leaves idle ones alone."""
    run = made_idle(tmp_path / "run", vcpus=vcpus, running=running, interrupted=interrupted)

    assert "idle" not in sweep("summarize", run).out


def test_a_sweep_with_failed_cells_says_so_before_its_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `sweep run` prints at its end begins with what is missing."""
    code = start(write_spec(tmp_path), simulate=fakes.fail_on_two_vcpus)

    out = capsys.readouterr().out
    assert code is ExitCode.CELLS_FAILED
    assert out.splitlines()[0] == "INCOMPLETE: 8 of 16 cells; 1 of 2 guests have none (2cpu-1g)"


def test_an_interrupted_sweep_says_how_much_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever stops a sweep reads how much of it there is; the exit code is that of an interruption."""
    machines = Interrupted(bad_folder=tmp_path / "run", window=1, capture=capsys)
    monkeypatch.setattr("sweep.start.execute.open_backend", lambda *_: machines)

    code = start(write_spec(tmp_path))

    assert code is ExitCode.INTERRUPTED
    assert re.search(r"^INCOMPLETE: \d+ of 16 cells", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize("verb", sorted(ANSWERS))
def test_an_unsound_recording_is_said_first(sweep: Callable[..., Ended], tmp_path: Path, verb: str) -> None:
    """Every answer about a run that replays an unsound recording begins with the reason."""
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    spec = json.loads((run / "spec.json").read_text())
    spec["workloads"][0]["unsound"] = ["3 events were lost"]
    (run / "spec.json").write_text(json.dumps(spec))
    name, *words = ANSWERS[verb]

    said = sweep(name, str(run), *words, PARTIAL).out.splitlines()[1]

    assert (
        said
        == f"UNSOUND: {run}: workload {spec['workloads'][0]['label']} replays an unsound recording: 3 events were lost"
    )
