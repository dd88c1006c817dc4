"""Explanations: their lines add up to the difference, to the cycle and to the nanosecond, whatever the counts."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES
from results.explain.activities import explain_activities
from results.explain.explain import ROUNDING, Explanation, apportioned, explain_pair, pairs_of_policies
from results.explain.table import explanation_content, explanation_sheets, lines_frame
from results.prices.cost_groups import WAITING
from results.prices.pricing import price_cells
from results.render import WIDTH, show_sheets
from results.statistics.pairing import ComparisonError
from results.store.labels import LabelledRun
from results.store.parts import Part
from results.store.rows import cells_table, windows_table
from results.store.schema import table_schema
from tests.support.synthetic import cell, cost, make_run, quantity, replicate_batches, small_model, totals_of, trace

SHADOW = {
    "exits": cost(2000),
    "page_walks": cost(600.25),
    "mmu_pte_write": cost(300, 300),
    "sync_sptes": cost(0.1, 0.1),
    "lock_acquisitions": cost(60, 60),
}
NESTED = {"guest_touches": cost(12), "exits": cost(7.5)}


class MadePair(LabelledRun):
    """Tables of one pair of policies, made up from a seed."""

    def __init__(self, *, seed: int, replicates: int, windows: int, vcpus: int, largest: int, nested: bool) -> None:
        rng = np.random.default_rng(seed)
        cells, rows = [], []
        for replicate in range(replicates):
            pair = [cell(name, replicate, vcpus=vcpus) for name in ("tdp" if nested else "kvm-3.3", "kvm-3.0")]
            facts = trace(windows + replicate, replicate)
            counts = rng.integers(0, largest + 1, (windows + replicate, 2, len(COUNTER_NAMES)))
            # What vCPUs run natively belongs to the trace, so both policies have it.
            busy = rng.integers(0, vcpus * facts.window_ns + 1, windows + replicate)
            counts[:, :, COUNTER_INDEX["guest_run_ns"]] = busy[:, None]
            counts[:, :, COUNTER_INDEX["fatal"]] = 0
            cells.append(pl.from_arrow(cells_table(pair, totals_of(counts), facts)))
            rows.append(pl.from_arrow(windows_table(pair, counts, facts)))
        none = pl.DataFrame(schema=pl.Schema(table_schema("activities")))
        self.tables = {"cells": pl.concat(cells), "windows": pl.concat(rows), "activities": none}  # type: ignore[type-var, dict-item]

    def scan(self, table: str, parts: Sequence[Part] | None = None) -> pl.LazyFrame:
        """Return any table."""
        assert parts is None
        return self.tables[table].lazy()

    def activities(self, seed: int = 1) -> pl.DataFrame:
        """Return rows whose counts add up to those of the cells: each count is cut at two random places."""
        rng = np.random.default_rng(seed)
        names = ("fork", "exit", "page_reuse")
        whole = self.tables["cells"].select(COUNTER_NAMES).to_numpy()
        cuts = np.sort(rng.integers(0, whole + 1, (2, *whole.shape)), axis=0)
        parts = np.diff(np.concatenate([np.zeros_like(cuts[:1]), cuts, whole[None]]), axis=0)
        return pl.concat(
            self.tables["cells"].with_columns(
                pl.lit(name).alias("activity"),
                *(pl.Series(counter, part[:, i]) for i, counter in enumerate(COUNTER_NAMES)),
            )
            for name, part in zip(names, parts, strict=True)
        )


def model(**changes: Any) -> Any:
    """Return a cost model whose cycles are no whole numbers, at a clock that divides nothing evenly."""
    return small_model(shadow=SHADOW, nested=NESTED, cpu_ghz=quantity(2.67), **changes)


def explained(made: MadePair, **options: Any) -> Explanation:
    """Return the explanation of the only pair."""
    (pair,) = pairs_of_policies(made, made.tables["cells"]["policy"].unique().sort().to_list()[-1], "kvm-3.0")
    return explain_pair(made, model(), pair, **options)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    replicates=st.integers(1, 3),
    windows=st.integers(1, 12),
    vcpus=st.sampled_from([1, 2, 8]),
    largest=st.sampled_from([0, 1, 1000, 10**7]),
    nested=st.booleans(),
    stretches=st.integers(0, 7),
)
def test_lines_add_up(**drawn: Any) -> None:
    """Lines add up to the difference of the priced cells in ns and of their cycles as rational numbers, no rest.

    However the time is cut, the lines of the whole are the same.
    """
    stretches = drawn.pop("stretches")
    made = MadePair(**drawn)
    (pair,) = pairs_of_policies(made, "tdp" if drawn["nested"] else "kvm-3.3", "kvm-3.0")

    found = explain_pair(made, model(), pair, stretches=stretches)

    side = pl.when(pl.col("policy") == "kvm-3.0").then(-1).otherwise(1)
    priced = price_cells(made.scan("windows"), model()).collect()
    assert sum(line.elapsed_ns for line in found.lines) == priced.select((side * pl.col("elapsed_ns")).sum()).item()
    assert found.difference_ns == sum(line.elapsed_ns for line in found.lines)
    assert found.difference_cycles == cycles_of(made, pair.policy) - cycles_of(made, "kvm-3.0")
    if stretches:
        assert found.lines == explain_pair(made, model(), pair).lines
        assert found.windows["elapsed_ns"].sum() == found.difference_ns
        by_line = dict(found.windows.group_by("line").agg(pl.col("elapsed_ns").sum()).iter_rows())
        named = {line.name: line.elapsed_ns for line in found.lines if line.elapsed_ns}
        assert {name: value for name, value in by_line.items() if value} == named


def cycles_of(made: MadePair, policy: str) -> Fraction:
    """Return the priced cycles of a policy, counted window by window with exact numbers."""
    prices = NESTED if policy == "tdp" else SHADOW
    rows = made.tables["windows"].filter(pl.col("policy") == policy).select(list(prices)).iter_rows()
    each = [Fraction(str(price["cycles"])) for price in prices.values()]
    return sum((Fraction(count) * price for row in rows for count, price in zip(row, each, strict=True)), Fraction())


def test_a_line_is_its_counts_times_its_price() -> None:
    """On one busy vCPU a line's ns are its cycles over the clock, to less than a nanosecond per stretch."""
    found = explained(MadePair(seed=3, replicates=2, windows=5, vcpus=1, largest=1000, nested=False))

    lines = {line.name: line for line in found.lines if line.count is not None}
    assert set(lines) == set(SHADOW)
    for line in lines.values():
        assert line.elapsed_ns == pytest.approx(float(line.cycles) / 2.67, abs=1.0)
    assert abs(next(line.elapsed_ns for line in found.lines if line.name == ROUNDING)) <= 11


def test_stretches_do_not_overlap() -> None:
    """Replicates of different length are cut at the same times: each stretch begins where the one before ends."""
    found = explained(MadePair(seed=3, replicates=3, windows=7, vcpus=1, largest=1000, nested=False), stretches=3)

    stretches = found.windows.select("stretch", "from_s", "to_s").unique().sort("stretch")
    assert stretches["stretch"].to_list() == [0, 1, 2]
    assert stretches["from_s"].to_list()[1:] == stretches["to_s"].to_list()[:-1]


def test_waiting_is_a_line_of_its_own() -> None:
    """With two vCPUs and the lock held, waiting differs, and is what the priced cells say, shared by those that run."""
    made = MadePair(seed=4, replicates=1, windows=1, vcpus=2, largest=10**4, nested=False)

    found = explained(made)

    priced = price_cells(made.scan("windows"), model()).collect()
    waits = dict(priced.select("policy", "lock_wait_ns").iter_rows())
    first = priced.row(0, named=True)
    # No more vCPUs run than there are, whatever a table of made numbers says.
    shared = min(2.0, max(1.0, first["busy_ns"] / first["native_ns"]))
    line = next(line for line in found.lines if line.name == WAITING)
    assert line.elapsed_ns == pytest.approx((waits["kvm-3.3"] - waits["kvm-3.0"]) / shared, abs=2.0)
    assert line.elapsed_ns != 0


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30), st.integers(-1, 1))
def test_apportioned_numbers_are_near_and_whole(values: list[float], shift: int) -> None:
    """Whole numbers add up to the total and are less than 1 from their terms; a total that they miss is refused."""
    terms = {str(i): value for i, value in enumerate(values)}
    total = round(sum(values))
    terms["rest"] = total - sum(values)

    found = apportioned(terms, total)

    assert sum(found.values()) == total
    assert all(abs(found[name] - value) <= 1.0 for name, value in terms.items())
    if shift:
        with pytest.raises(ComparisonError, match="the parts miss the whole by"):
            apportioned({"a": 1.0, "b": 2.0}, 3 + shift)


def test_activities_add_up_to_the_lines() -> None:
    """Counts and cycles of the activities add up to those of each line, exactly."""
    made = MadePair(seed=5, replicates=2, windows=4, vcpus=2, largest=10**6, nested=True)
    (pair,) = pairs_of_policies(made, "tdp", "kvm-3.0")

    made.tables["activities"] = made.activities()
    found = explain_activities(made, model(), pair)

    sums = found.group_by("line").agg(pl.col("count", "count_baseline", "cycles").sum())
    for line in explain_pair(made, model(), pair).lines:
        if line.count is not None:
            row = sums.row(by_predicate=pl.col("line") == line.name, named=True)
            assert (row["count"], row["count_baseline"]) == (line.count, line.count_baseline)
            assert row["cycles"] == pytest.approx(float(line.cycles), rel=1e-12)
    assert sorted(found["activity"].unique()) == ["exit", "fork", "page_reuse"]


def test_whole_prices_give_whole_cycles() -> None:
    """Where all prices are whole numbers, cycles of activities are integers and add up without any rounding."""
    made = MadePair(seed=6, replicates=1, windows=4, vcpus=2, largest=10**7, nested=False)
    (pair,) = pairs_of_policies(made, "kvm-3.3", "kvm-3.0")

    made.tables["activities"] = made.activities()
    found = explain_activities(made, small_model(), pair)

    assert found["cycles"].dtype == pl.Int64
    assert found["cycles"].sum() == explain_pair(made, small_model(), pair).difference_cycles


def test_a_run_without_activities_says_how_to_get_them() -> None:
    """A run of an older program has no activities: the message says so and what to do."""
    made = MadePair(seed=6, replicates=1, windows=1, vcpus=1, largest=9, nested=False)
    (pair,) = pairs_of_policies(made, "kvm-3.3", "kvm-3.0")

    with pytest.raises(ComparisonError, match=r"made before they were counted. Run its sweep again"):
        explain_activities(made, model(), pair)


def test_activities_that_do_not_add_up_are_refused() -> None:
    """A count that is missing among the activities is damage, and no silent rest."""
    made = MadePair(seed=6, replicates=1, windows=2, vcpus=1, largest=99, nested=False)
    (pair,) = pairs_of_policies(made, "kvm-3.3", "kvm-3.0")
    made.tables["activities"] = made.activities().with_columns(
        exits=pl.when(pl.col("activity") == "fork").then(0).otherwise("exits")
    )

    with pytest.raises(ComparisonError, match=r"exits: the activities add up to .* see `sweep fsck`"):
        explain_activities(made, model(), pair)


@pytest.mark.parametrize(
    ("policy", "baseline", "place", "expected"),
    [
        ("kvm-9", "kvm-3.0", {}, "no finished cell has policy 'kvm-9'. There are: kvm-3.0, kvm-3.3, tdp, xiao-v1"),
        ("tdp", "tdp", {}, "'tdp' against itself differs in nothing"),
        ("tdp", "kvm-3.0", {"guest": "big"}, "no finished cell has guest 'big'. There are: small"),
    ],
)
def test_unknown_names_are_refused(
    tmp_path: Path, policy: str, baseline: str, place: dict[str, str], expected: str
) -> None:
    """A name that the run lacks is refused with those that it has."""
    store = make_run(tmp_path, replicate_batches(1))

    with pytest.raises(ComparisonError, match=expected):
        pairs_of_policies(store, policy, baseline, **place)


def test_guests_that_match_are_explained(tmp_path: Path) -> None:
    """`*` and `?` in a guest's or workload's name choose all that match, as in `--where` of `sweep compare`."""
    guests = ("8cpu-1g", "8cpu-2g", "1cpu-1g")
    batches = [(f"batch-{guest}", [cell(policy, guest=guest) for policy in ("kvm-3.0", "tdp")]) for guest in guests]
    store = make_run(tmp_path / "run", batches)

    assert {pair.guest for pair in pairs_of_policies(store, "tdp", "kvm-3.0", guest="8cpu-*")} == set(guests[:2])
    assert len(pairs_of_policies(store, "tdp", "kvm-3.0", workload="kern*")) == len(guests)
    with pytest.raises(ComparisonError, match=r"no finished cell has guest '4cpu-\*'\. There are: "):
        pairs_of_policies(store, "tdp", "kvm-3.0", guest="4cpu-*")


def test_other_traces_are_refused() -> None:
    """Partners that met different traces have no difference to explain."""
    made = MadePair(seed=1, replicates=1, windows=1, vcpus=1, largest=9, nested=False)
    made.tables["cells"] = made.tables["cells"].with_columns(trace_digest=pl.col("policy"))

    with pytest.raises(ComparisonError, match=r"trace kvm-3\.3 is not the trace of 'kvm-3\.0'"):
        pairs_of_policies(made, "kvm-3.3", "kvm-3.0")


def test_sheets_fit_and_show_the_sum() -> None:
    """Every sheet fits the width, ends with the sum, and its parts add up to it as they are printed."""
    made = MadePair(seed=8, replicates=3, windows=9, vcpus=8, largest=10**9, nested=False)
    found = explained(made, stretches=4)
    made.tables["activities"] = made.activities()
    activities = explain_activities(made, model(), found.pair)

    sheets = list(explanation_sheets(found, activities))

    assert [sheet.rows[-1][0] for sheet in sheets] == ["sum", "sum", "sum"]
    parts = [int(row[5].replace(",", "")) for row in sheets[0].rows[:-1] if not row[0].startswith(" ")]
    lines = [int(row[1].replace(",", "")) for row in sheets[1].rows[:-1]]
    assert sum(parts) == sum(lines) == found.difference_ns
    assert max(map(len, show_sheets(sheets[:2], "text").splitlines())) <= WIDTH + 10


def test_frames_and_content_hold_the_lines() -> None:
    """The frame has one row per line, and JSON the same figures with windows and activities as asked for."""
    found = explained(MadePair(seed=8, replicates=1, windows=3, vcpus=2, largest=99, nested=False), stretches=2)

    frame, content = lines_frame(found), explanation_content(found, None)

    assert frame["elapsed_ns"].sum() == content["difference_ns"] == found.difference_ns
    assert [row["line"] for row in content["lines"]] == frame["line"].to_list()
    assert sum(row["elapsed_ns"] for row in content["windows"]) == found.difference_ns
    assert "activities" not in content
