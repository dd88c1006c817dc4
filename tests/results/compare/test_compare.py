"""Comparisons: paired differences over any dimensions, what table cells hide, conditions for scripts, fronts."""

import json
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES
from results.compare.compare import Comparison
from results.compare.gate import Gate, breaches, parse_gate
from results.compare.pareto import beaten_by, trade_offs
from results.compare.question import Question, compare_runs
from results.compare.table import (
    comparison_list,
    comparison_markdown,
    comparison_text,
    comparisons_csv,
    comparisons_json,
)
from results.compare.without_effect import idle_notes
from results.render import probability
from results.report.figures import CHANGES
from results.statistics.pairing import ComparisonError
from results.store.labels import LabelledRun
from results.store.parts import Part
from results.store.rows import cells_table
from tests.support.synthetic import cell, small_model, trace

KNOBS = {
    "kvm-3.0": {"unsync": True, "flood_threshold": 3, "misaligned": "kvm-3.0"},
    "kvm-3.3": {"unsync": True, "flood_threshold": 3, "misaligned": "kvm-3.3"},
    "eager": {"unsync": False, "flood_threshold": 1, "misaligned": "kvm-3.0"},
}
SPEC: dict[str, Any] = {
    "name": "made up",
    "policies": [{"name": name, "knobs": knobs} for name, knobs in KNOBS.items()],
    "workloads": [{"label": "kernbench", "name": "kernbench", "parameters": {"units": 10}}],
    "baseline": "kvm-3.0",
    "seed": 1,
    "window_ns": 10,
}
MEANS = {"kvm-3.0": 10_000.0, "kvm-3.3": 9_000.0, "eager": 12_000.0}


class Counted(LabelledRun):
    """Tables of cells whose exits are given per (policy, vcpus, replicate)."""

    def __init__(self, exits: dict[tuple[str, int, int], float], **others: int) -> None:
        tables = []
        for (policy, vcpus, replicate), count in exits.items():
            one = cell(policy, replicate, vcpus=vcpus, guest=f"{vcpus}cpu")
            totals = np.zeros((1, len(COUNTER_NAMES)), dtype=np.int64)
            totals[0, COUNTER_INDEX["exits"]] = round(count)
            for name, value in others.items():
                totals[0, COUNTER_INDEX[name]] = value
            tables.append(pl.from_arrow(cells_table([one], totals, trace(1, 10 * vcpus + replicate))))
        self.cells: pl.DataFrame = pl.concat(tables)  # type: ignore[type-var, assignment]
        self.name, self.spec, self.provenance = "run", SPEC, [{"code_fingerprint": "f1"}]

    def scan(self, table: str, parts: Sequence[Part] | None = None) -> pl.LazyFrame:
        """Return the only table: a count needs no windows."""
        assert (table, parts) == ("cells", None)
        return self.cells.lazy()


def drawn(seed: int = 1, *, spread: float = 200.0, replicates: int = 5, **factors: float) -> Counted:
    """Return exits of three policies on two guests: what a replicate has more, all policies have more."""
    rng = np.random.default_rng(seed)
    exits = {}
    for vcpus in (1, 2):
        for replicate in range(replicates):
            shared = 1.0 + 0.2 * rng.normal()
            for policy, mean in MEANS.items():
                own = mean * factors.get(policy.replace("-", "_").replace(".", "_"), 1.0)
                exits[policy, vcpus, replicate] = vcpus * shared * (own + spread * rng.normal())
    return Counted(exits)


def compared(run: Counted, name: str = "run", **changes: Any) -> Counted:
    """Return a run that takes part."""
    found = copy(run)
    found.name, found.spec = name, SPEC | changes
    return found


def table_of(tables: Counted, **question: Any) -> Comparison:
    """Return the table of exits that a question asks for."""
    asked = {"metrics": ("exits",), **question}
    (table,) = compare_runs([compared(tables)], Question(**asked), None)
    return table


def test_differences_are_those_of_a_paired_t_test() -> None:
    """Each cell has the mean, and the mean of the paired differences in % with scipy's one-sample interval."""
    tables = drawn()

    table = table_of(tables, rows=("guest",), cols=("policy",))

    for (guest, policy), rows in tables.cells.group_by("guest", "policy"):
        found = table.cells.row(by_predicate=(pl.col("guest") == guest) & (pl.col("policy") == policy), named=True)
        ours = rows.sort("replicate")["exits"].to_numpy()
        base = tables.cells.filter((pl.col("guest") == guest) & (pl.col("policy") == "kvm-3.0")).sort("replicate")
        differences = 100.0 * (ours / base["exits"].to_numpy() - 1.0)
        assert found["value"] == pytest.approx(ours.mean())
        own = stats.ttest_1samp(ours, 0.0).confidence_interval(0.95)
        assert (found["value_low"], found["value_high"]) == (pytest.approx(own.low), pytest.approx(own.high))
        if policy == "kvm-3.0":
            assert (found["difference_percent"], found["verdict"]) == (None, "baseline")
        else:
            bounds = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
            assert found["difference_percent"] == pytest.approx(differences.mean())
            assert found["difference_low"] == pytest.approx(bounds.low)
            assert found["difference_high"] == pytest.approx(bounds.high)
    assert dict(table.cells.filter(guest="1cpu").select("policy", "verdict").iter_rows()) == {
        "kvm-3.0": "baseline",
        "kvm-3.3": "better",
        "eager": "worse",
    }


@pytest.mark.parametrize("place", ["rows", "cols"])
def test_replicates_may_stand_apart(place: str) -> None:
    """With replicates in rows or columns each has its own difference, which alone is not sure."""
    tables = drawn(replicates=3)

    table = table_of(tables, **{"rows": ("guest",), "cols": ("policy",), place: ("guest", "policy", "replicate")})

    keys = ["guest", "replicate", "policy"]
    exits = tables.cells.select(*keys, exits=pl.col("exits").cast(pl.Float64)).sort(keys)
    base = exits.filter(policy="kvm-3.0").select("guest", "replicate", base="exits")
    change = 100.0 * (pl.col("exits") / pl.col("base") - 1.0)
    expected = exits.join(base, on=["guest", "replicate"]).filter(pl.col("policy") != "kvm-3.0").select(change)
    assert table.cells.sort(keys)["value"].to_list() == exits["exits"].to_list()
    compared = table.cells.sort(keys).filter(pl.col("verdict") == "not enough replicates")
    assert compared["difference_percent"].to_list() == pytest.approx(expected.to_series().to_list())


def test_the_geometric_mean_is_over_rows() -> None:
    """The last row holds geometric means of values and of ratios, exact where replicates do not vary."""
    exits = {("kvm-3.0", 1, r): 100 for r in (0, 1)} | {("kvm-3.0", 2, r): 400 for r in (0, 1)}
    exits |= {("kvm-3.3", 1, r): 50 for r in (0, 1)} | {("kvm-3.3", 2, r): 800 for r in (0, 1)}

    table = table_of(Counted(exits), rows=("guest",), cols=("policy",))

    row = table.geomean.row(by_predicate=pl.col("policy") == "kvm-3.3", named=True)
    assert row["value"] == pytest.approx(200.0)
    assert row["difference_percent"] == pytest.approx(0.0, abs=1e-9)


def uneven() -> Counted:
    """Return three policies with six replicates on one guest and three on the other."""
    tables = drawn(replicates=6)
    tables.cells = tables.cells.filter((pl.col("vcpus") == 1) | (pl.col("replicate") < 3))
    return tables


def test_a_mean_over_guests_keeps_each_guest() -> None:
    """A table cell over guests with 6 and 3 replicates is that of the 3 that both have, and a note says what is not."""
    tables = uneven()
    first = Counted({("kvm-3.0", 1, 0): 1})
    first.cells = tables.cells.filter(pl.col("replicate") < 3)

    found = table_of(tables, rows=("workload",), cols=("policy",))
    expected = table_of(first, rows=("workload",), cols=("policy",))

    assert found.cells.equals(expected.cells)
    assert found.cells["replicates"].unique().to_list() == [3]
    assert any(note.startswith("9 cells are left out") for note in found.notes)
    assert len(found.warnings) == 1


def test_the_geometric_mean_is_that_of_what_is_printed() -> None:
    """With different numbers of replicates, too, the last row is the geometric mean of the rows above it."""
    table = table_of(uneven(), rows=("guest",), cols=("policy",))

    for row in table.geomean.iter_rows(named=True):
        printed = table.cells.filter(policy=row["policy"])
        assert printed["replicates"].to_list() == [6, 3]
        assert row["value"] == pytest.approx(stats.gmean(printed["value"]))
        if row["policy"] != "kvm-3.0":
            ratios = 1.0 + printed["difference_percent"].to_numpy() / 100.0
            assert row["difference_percent"] == pytest.approx(100.0 * (stats.gmean(ratios) - 1.0))
            assert row["difference_low"] < row["difference_percent"] < row["difference_high"]


def test_a_mixed_cell_is_named() -> None:
    """A table cell over both guests says so, what they differ in and how to take them apart; others say nothing."""
    mixed = table_of(drawn(), rows=("workload",), cols=("policy",))
    apart = table_of(drawn(), rows=("workload", "guest"), cols=("policy",))

    (warning,) = mixed.warnings
    assert "means over up to 2 values of guest (vcpus: 2)" in warning
    assert "--rows workload,guest, or --where guest='1cpu'" in warning
    assert apart.warnings == ()


def test_knobs_are_dimensions() -> None:
    """A knob can be a row; policies with the same value are mixed there, and the table says which."""
    table = table_of(drawn(), rows=("unsync",), cols=("guest",), baseline="kvm-3.0")

    assert table.cells["unsync"].unique().to_list() in ([True, False], [False, True])
    by_hand = table.cells.filter(pl.col("unsync") == False)["difference_percent"]  # noqa: E712
    assert by_hand.to_list() == pytest.approx([20.0, 20.0], abs=5.0)


def test_conditions_choose_cells_and_keep_the_baseline() -> None:
    """A condition on policies does not take the baseline away; one on guests does restrict it."""
    table = table_of(drawn(), where=("policy=kvm-3.3", "vcpus>=2"))

    assert table.cells.select("guest", "policy").rows() == [("2cpu", "kvm-3.0"), ("2cpu", "kvm-3.3")]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"rows": ("gest",)}, "unknown dimension 'gest'. Did you mean 'guest'"),
        ({"metrics": ("exit",)}, "unknown metric 'exit'. Did you mean 'exits'"),
        ({"baseline": "kvm-9"}, "no cell has the baseline policy=kvm-9. There are: "),
        ({"where": ("policy=kvm-9",)}, "--where policy: no cell has 'kvm-9'. There are: eager, kvm-3.0, kvm-3.3"),
        ({"where": ("policy",)}, "--where 'policy': expected DIMENSION=VALUE"),
        ({"where": ("policy<3",)}, "only numbers have an order, use ="),
        ({"metrics": ("elapsed",)}, "metric 'elapsed' is a time: give a cost model"),
    ],
)
def test_what_is_asked_wrongly_is_refused(question: dict[str, Any], expected: str) -> None:
    """A wrong name, value or condition is refused with what would be allowed."""
    with pytest.raises(ComparisonError) as raised:
        table_of(drawn(), **question)

    assert expected in str(raised.value)


def test_other_traces_are_no_pairs() -> None:
    """Two policies of a replicate that met different traces are refused, with the place."""
    tables = drawn()
    tables.cells = tables.cells.with_columns(trace_digest=pl.concat_str("trace_digest", "policy"))

    with pytest.raises(ComparisonError, match=r"is not the trace of 'kvm-3\.0'"):
        table_of(tables)


def test_two_runs_are_paired_by_cell() -> None:
    """The second run is compared with the first, cell by cell, and what differs about them is noted."""
    before, after = drawn(), drawn(kvm_3_3=1.10)

    (table,) = compare_runs(
        [compared(before, "before"), compared(after, "after", seed=2)], Question(metrics=("exits",)), None
    )

    found = table.cells.filter(pl.col("run") == "after")
    changes = found.group_by("policy").agg(pl.col("difference_percent").mean())
    assert dict(changes.iter_rows()) == {"kvm-3.0": 0.0, "eager": 0.0, "kvm-3.3": pytest.approx(10.0, abs=0.5)}
    assert set(found.filter(pl.col("policy") != "kvm-3.3")["verdict"]) == {"no difference"}
    assert any(note == "seed differs: 1 in before, 2 in after" for note in table.notes)


def two_runs(after: Counted, *, where: tuple[str, ...] = (), **changes: Any) -> Comparison:
    """Return the exits of a second run beside those of a first one that has all."""
    runs = [compared(drawn(), "before"), compared(after, "after", **changes)]
    (table,) = compare_runs(runs, Question(metrics=("exits",), where=where), None)
    return table


def test_a_second_run_without_some_cells_does_not_pass() -> None:
    """Whatever the condition, a policy on a guest that the second run lacks meets `missing`; --where leaves it out."""
    after = drawn()
    after.cells = after.cells.filter((pl.col("policy") != "eager") | (pl.col("vcpus") == 1))

    for condition in ("regress>2%", "missing"):
        (breach,) = breaches([two_runs(after)], [parse_gate(condition)])

        assert breach.content()["condition"] == "missing"
        assert breach.text.startswith("--fail-on missing: exits, policy eager, workload kernbench, guest 2cpu: only in")
    assert breaches([two_runs(after, where=("policy!=eager",))], [parse_gate("missing")]) == []
    assert breaches([two_runs(drawn())], [parse_gate("regress>2%"), parse_gate("missing")]) == []


def test_fewer_replicates_are_not_missing_cells() -> None:
    """A second run with some of the replicates, as one with `until` may have, is judged by those that it has."""
    after = drawn()
    after.cells = after.cells.filter(pl.col("replicate") < 3)

    assert breaches([two_runs(after)], [parse_gate("missing")]) == []


def test_workloads_that_share_a_name_alone_are_not_judged() -> None:
    """Other parameters under the same name are a warning of the table, and no condition passes or fails on them."""
    other = [{"label": "kernbench", "name": "kernbench", "parameters": {"units": 99}}]

    table = two_runs(drawn(), workloads=other)

    assert any(warning.startswith("workload kernbench has other parameters") for warning in table.warnings)
    with pytest.raises(ComparisonError, match="--fail-on: kernbench: the two runs have other parameters of it"):
        breaches([table], [parse_gate("regress>2%")])


def test_a_run_is_not_compared_with_itself() -> None:
    """The same run given twice is refused: nothing could differ."""
    with pytest.raises(ComparisonError, match="run against itself differs in nothing: give two runs"):
        compare_runs([compared(drawn()), compared(drawn())], Question(metrics=("exits",)), None)


def test_a_knob_can_be_the_baseline() -> None:
    """Values of a knob are compared among policies that differ in it alone; another policy with the same value is not.

    `kvm-3.0` has the threshold 3 as well, but no twin with another one, so it is no part of any mean.
    """
    knobs = {
        "kvm-3.0": KNOBS["kvm-3.0"],
        "kvm-3.3": KNOBS["kvm-3.3"],
        "eager": KNOBS["kvm-3.3"] | {"flood_threshold": 1},
    }
    spec = {"policies": [{"name": name, "knobs": own} for name, own in knobs.items()]}
    question = Question(metrics=("exits",), rows=("guest",), cols=("flood_threshold",), baseline="flood_threshold=3")
    tables = drawn()

    (table,) = compare_runs([compared(tables, **spec)], question, None)

    means = dict(
        tables.cells.group_by("policy", "guest")
        .agg(pl.col("exits").mean())
        .select(pl.concat_str("policy", "guest", separator=" "), "exits")
        .iter_rows()
    )
    found = {(row["flood_threshold"], row["guest"]): row for row in table.cells.iter_rows(named=True)}
    for guest in ("1cpu", "2cpu"):
        assert found[3, guest]["value"] == pytest.approx(means[f"kvm-3.3 {guest}"])
        assert found[1, guest]["value"] == pytest.approx(means[f"eager {guest}"])
        assert found[3, guest]["verdict"] == "baseline"
        assert found[1, guest]["difference_percent"] == pytest.approx(100 / 3, abs=3)


def test_adaptive_replicates_pay_for_their_looks() -> None:
    """Where replicates were added until it was enough, intervals are those of the rule, and so wider."""
    until = {"minimum": 3, "maximum": 30, "confidence": 0.95}

    (plain,) = compare_runs([compared(drawn())], Question(metrics=("exits",)), None)
    (paid,) = compare_runs([compared(drawn(), until=until)], Question(metrics=("exits",)), None)

    width = pl.col("difference_high") - pl.col("difference_low")
    ratio = paid.cells.select(width).to_series().drop_nulls() / plain.cells.select(width).to_series().drop_nulls()
    expected = stats.t.ppf(1 - 0.05 / 7 / 2, 4) / stats.t.ppf(0.975, 4)
    assert ratio.to_list() == pytest.approx([expected] * 4)
    own = pl.col("value_high") - pl.col("value_low")
    ratios = paid.cells.select(own).to_series() / plain.cells.select(own).to_series()
    assert ratios.to_list() == pytest.approx([expected] * 6)
    log_width = ((1 + pl.col("difference_high") / 100) / (1 + pl.col("difference_low") / 100)).log()
    means = paid.geomean.select(log_width).to_series() / plain.geomean.select(log_width).to_series()
    assert means.drop_nulls().to_list() == pytest.approx([expected] * 2)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_fits(width: int) -> None:
    """No line of the text is wider than asked for, whatever has to be cut into pieces."""
    text = comparison_text(table_of(drawn()), width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "geomean" in text
    assert "* differs by more than 0.5 % (less is better)" in text


def test_all_forms_hold_the_same() -> None:
    """CSV and JSON have every cell with every digit, Markdown and the list a line for each that is compared."""
    table = table_of(drawn())

    content = json.loads(comparisons_json([table], failed=[]))
    csv = pl.read_csv(comparisons_csv([table]).encode())

    assert content["schema"] == "compare/1"
    assert content["tables"][0]["cells"] == table.cells.to_dicts()
    assert csv["difference_percent"].to_list() == pytest.approx(table.cells["difference_percent"].to_list())
    assert comparison_markdown(table).count("\n|") == 2 + 2 + 1
    assert [row[:2] for row in comparison_list(table).rows] == [
        ("1cpu", "kvm-3.3"),
        ("1cpu", "eager"),
        ("2cpu", "kvm-3.3"),
        ("2cpu", "eager"),
    ]


def test_small_probabilities_are_not_zero() -> None:
    """No table shows a p-value as 0: the list and the report share what shows one."""
    assert [probability(value) for value in (None, 0.0, 0.00099, 0.001, 0.05)] == [
        "-",
        "<0.001",
        "<0.001",
        "0.001",
        "0.050",
    ]
    (column,) = (column for column in CHANGES if column.name == "p_holm")
    assert column.form is probability


def test_gates_are_read() -> None:
    """A condition is a word, a size and its sign; anything else is refused with an example."""
    assert parse_gate("regress>2%") == Gate(kind="regress", percent=2.0)
    assert str(parse_gate(" change > 0.50 % ")) == "change>0.5%"
    assert str(parse_gate(" missing ")) == "missing"
    for wrong in ("regress", "regress>2", "slower>2%", "regress>-1%", "regress<2%", "missing>2%"):
        with pytest.raises(ComparisonError, match="expected WORD>NUMBER%, as in 'regress>2%'"):
            parse_gate(wrong)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("regress>2%", {"eager"}),
        ("regress>50%", set()),
        ("improve>2%", {"kvm-3.3"}),
        ("change>2%", {"eager", "kvm-3.3"}),
        ("unsure>2%", set()),
        ("regress>19.9%", set()),
        ("unsure>19.9%", {"eager"}),
    ],
)
def test_gates_are_judged_like_verdicts(gate: str, expected: set[str]) -> None:
    """A cell meets a condition where it surely differs by more than its size, not where its mean does."""
    table = table_of(drawn(spread=100.0))

    found = breaches([table], [parse_gate(gate)])

    assert {breach.place["policy"] for breach in found} == expected
    assert all(breach.text.startswith(f"--fail-on {gate}: exits, guest ") for breach in found)


def test_a_gate_that_could_never_close_is_refused() -> None:
    """With one replicate nothing is sure, so a condition would pass whatever happened: an error instead."""
    with pytest.raises(ComparisonError, match="no difference of exits has two replicates"):
        breaches([table_of(drawn(replicates=1))], [parse_gate("regress>2%")])


def test_fronts_by_hand() -> None:
    """A row is beaten by one that is no worse in all goals and better in one; equal rows do not beat each other."""
    rows = pl.DataFrame(
        {
            "place": ["x"] * 5 + ["y"],
            "name": ["fast", "small", "both", "twin", "bad", "alone"],
            "time": [1, 3, 2, 2, 4, 9],
            "memory": [9, 1, 2, 2, 9, 9],
        }
    )

    found = beaten_by(rows, ["time", "memory"], ["place"], name="name")

    assert found.to_list() == [None, None, None, None, "fast", None]


def test_bounds_are_no_choice() -> None:
    """Policies that nobody can install are left out of the front, which they would be alone on."""
    spec = SPEC | {"policies": [*SPEC["policies"][:2], {"name": "eager", "knobs": {"oracle": True}}]}

    found = trade_offs(compared(drawn(), **spec), small_model(), metrics=("exits", "pages_peak"))

    assert set(found["policy"]) == {"kvm-3.0", "kvm-3.3"}
    assert found.filter(pl.col("beaten_by").is_null())["policy"].unique().to_list() == ["kvm-3.3"]


def test_knobs_that_did_nothing_are_named() -> None:
    """Policies that differ in one knob and have all counts in common: the knob did nothing, and a note says so."""
    exits = {(policy, 1, r): {"eager": 5}.get(policy, 3 + r) for policy in MEANS for r in range(3)}

    notes = idle_notes(Counted(exits, mmu_recycled=1))

    assert notes == ["changing misaligned alone did nothing here: every count is the same under kvm-3.0 and kvm-3.3"]


def test_one_other_count_is_an_effect() -> None:
    """A single count of a single replicate that differs is an effect: nothing is said then."""
    exits = {(policy, 1, r): 3 + r + (policy == "kvm-3.3" and r == 2) for policy in MEANS for r in range(3)}
    exits |= {("eager", 1, r): 99 for r in range(3)}

    assert idle_notes(Counted(exits, mmu_recycled=1)) == []


def test_a_pool_that_was_never_full_is_named() -> None:
    """Where memory varies and no shadow page was recycled, the pool's size cannot matter, and a note says so."""
    tables = drawn()
    tables.cells = tables.cells.with_columns(memory_mib=(pl.col("vcpus") * 512).cast(pl.Int32))

    (note,) = idle_notes(tables)

    assert note.startswith("the pool was never full: no shadow page was recycled in any cell")
    assert "the guests' memory varies all the same" in note
    assert idle_notes(Counted({("kvm-3.0", 1, 0): 1}, mmu_recycled=3)) == []


def test_runs_without_cells_say_so() -> None:
    """A run that has no finished cell yet is refused by its name."""
    tables = drawn()
    tables.cells = tables.cells.clear()

    with pytest.raises(ComparisonError, match="run: no cell is finished yet; run the sweep first"):
        table_of(tables)
