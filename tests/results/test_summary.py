"""Summaries: paired differences, the order of rows, the predictions beside what was published, and how they look."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.cells import cell_len
from scipy import stats

from results.ranked_run import RankedRun
from results.render import WIDTH, compact_count, render, shortened
from results.statistics.pairing import ComparisonError
from results.statistics.verdicts import Rule
from results.store.labels import LabelledRun
from results.store.run_store import RunStore
from results.summary import COUNTS, GROUP, TIMES, TRACE, PricedCells, seed_comparison, summarize, summarize_priced
from tests.support.synthetic import PROVENANCE, SPEC, cell, make_run, replicate_batches, small_model, write_batch


def times(policy: str, seconds: list[float], **changes: Any) -> list[dict[str, Any]]:
    """Return priced cells of one policy, one per replicate."""
    rows = []
    for replicate, elapsed in enumerate(seconds):
        row: dict[str, Any] = {
            "policy": policy,
            "workload": "kernbench",
            "guest": "small",
            "vcpus": 2,
            "memory_mib": 512,
            "replicate": replicate,
            "trace_digest": f"t{replicate}",
            "elapsed_ns": round(elapsed * 1e9),
            "native_ns": 90_000_000_000,
            "lock_wait_ns": 1_500_000_000,
            "exits": 12_345_678,
            "insn_emulation": 4567,
            "mmu_flooded": 12,
            "mmu_shadow_zapped": 99_999,
            "fatal": 0,
        }
        rows.append(row | changes)
    return rows


def example() -> pl.DataFrame:
    """Return three replicates of four policies, the baseline's times far apart."""
    return pl.DataFrame(
        times("kvm-3.0", [180.0, 200.0, 160.0])
        + times("xiao-v1", [171.0, 188.0, 153.6])
        + times("kvm-3.3", [169.2, 190.0, 150.4])
        + times("tdp", [100.0, 110.0, 90.0])
    )


def summarize_cells(cells: pl.DataFrame, baseline: str, *, policies: Sequence[str] = ()) -> pl.DataFrame:
    """Return the summary of priced cells."""
    sums = cells.group_by(*GROUP, "policy").agg(pl.col(*TIMES, *COUNTS).sum(), replicates=pl.len().cast(pl.Int64))
    priced = PricedCells(sums=sums.sort(*GROUP, "policy"), times=cells.select(*TRACE, "policy", "elapsed_ns"))
    return summarize_priced(priced, baseline, policies=policies)


def test_differences_are_paired_by_replicate() -> None:
    """The difference and its interval are those of the percentages of each replicate."""
    summary = summarize_cells(example(), "kvm-3.0")

    row = summary.filter(pl.col("policy") == "xiao-v1").row(0, named=True)
    expected = stats.ttest_1samp([-5.0, -6.0, -4.0], 0.0).confidence_interval(0.95)
    assert row["elapsed_s"] == pytest.approx((171.0 + 188.0 + 153.6) / 3)
    assert row["difference_percent"] == pytest.approx(-5.0)
    assert (row["difference_low"], row["difference_high"]) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
    assert row["replicates"] == 3


def test_the_baseline_differs_by_nothing() -> None:
    """Against itself the baseline has difference 0 and an interval of no width."""
    row = summarize_cells(example(), "kvm-3.0").filter(pl.col("policy") == "kvm-3.0").row(0, named=True)

    assert (row["difference_percent"], row["difference_low"], row["difference_high"]) == (0.0, 0.0, 0.0)


def test_one_replicate_gives_no_interval() -> None:
    """With one replicate there is a difference and no interval."""
    cells = example().filter(pl.col("replicate") == 0)

    row = summarize_cells(cells, "kvm-3.0").filter(pl.col("policy") == "tdp").row(0, named=True)

    assert row["difference_percent"] == pytest.approx(100 * (100 / 180 - 1))
    assert (row["difference_low"], row["difference_high"]) == (None, None)


def test_policies_come_in_the_given_order() -> None:
    """Rows follow the given order, the rest by name, in each guest; guests by size."""
    big = pl.DataFrame(times("kvm-3.0", [1.0], guest="big", vcpus=8) + times("tdp", [1.0], guest="big", vcpus=8))

    found = summarize_cells(pl.concat([big, example()]), "kvm-3.0", policies=("tdp", "kvm-3.0"))

    assert found.select("guest", "policy").rows() == [
        ("big", "tdp"),
        ("big", "kvm-3.0"),
        ("small", "tdp"),
        ("small", "kvm-3.0"),
        ("small", "kvm-3.3"),
        ("small", "xiao-v1"),
    ]


def test_an_absent_baseline_is_named() -> None:
    """The message lists the policies that could be the baseline."""
    with pytest.raises(
        ComparisonError, match=r"baseline 'kvm-9'\. Policies of this run: kvm-3\.0, kvm-3\.3, tdp, xiao-v1"
    ):
        summarize_cells(example(), "kvm-9")


def test_cells_of_different_traces_are_not_compared() -> None:
    """A pair whose traces differ is an error, not a number."""
    cells = pl.DataFrame(times("kvm-3.0", [180.0]) + times("tdp", [100.0], trace_digest="other"))

    with pytest.raises(ComparisonError, match=r"replicate 0: trace other is not the trace of 'kvm-3\.0'"):
        summarize_cells(cells, "kvm-3.0")


def test_predictions_stand_beside_the_published_numbers() -> None:
    """Both changes and the ratio are paired by replicate; the published numbers are not touched."""
    found = {row["comparison"]: row for row in seed_comparison(example()).iter_rows(named=True)}

    assert list(found) == ["kvm-3.0 -> xiao-v1", "kvm-3.0 -> kvm-3.3", "kvm-3.0 / tdp"]
    change = found["kvm-3.0 -> xiao-v1"]
    assert change["predicted"] == pytest.approx((-5.0 - 6.0 - 4.0) / 3)
    assert round(change["published"], 2) == -6.14
    ratio = found["kvm-3.0 / tdp"]
    assert ratio["predicted"] == pytest.approx((180 / 100 + 200 / 110 + 160 / 90) / 3)
    assert ratio["published"] == 1.83
    assert ratio["replicates"] == 3


def test_predictions_pay_for_the_looks() -> None:
    """Where replicates were added until it was enough, intervals of predictions are as wide as the rule makes them."""
    width = pl.col("predicted_high") - pl.col("predicted_low")
    plain = seed_comparison(example()).select(width).to_series()
    paid = seed_comparison(example(), rule=Rule(looks=7)).select(width).to_series()

    expected = stats.t.ppf(1 - 0.05 / 7 / 2, 2) / stats.t.ppf(0.975, 2)
    assert (paid / plain).to_list() == pytest.approx([expected] * 3)


def test_a_report_of_an_adaptive_run_has_one_interval_of_a_change(tmp_path: Path) -> None:
    """The change of kvm-3.3 has the same interval beside what was published as in the table above it."""
    store = RunStore(tmp_path / "run")
    store.create(SPEC | {"until": {"minimum": 3, "maximum": 30, "confidence": 0.95}}, PROVENANCE)
    for batch_id, cells in replicate_batches(4):
        store.commit(write_batch(store, batch_id, cells))
    ranked = RankedRun(run=LabelledRun(store), costs=small_model(), baseline="kvm-3.0")

    published = ranked.published()

    assert published is not None
    (found,) = published.filter(comparison="kvm-3.0 -> kvm-3.3").iter_rows(named=True)
    (above,) = ranked.summary.filter(policy="kvm-3.3").iter_rows(named=True)
    assert found["predicted_low"] == pytest.approx(above["difference_low"])
    assert found["predicted_high"] == pytest.approx(above["difference_high"])


def test_a_comparison_without_its_policies_is_left_out() -> None:
    """A run without nested paging predicts no ratio; a run with none of the policies predicts nothing."""
    cells = example().filter(pl.col("policy") != "tdp")

    assert seed_comparison(cells)["unit"].to_list() == ["%", "%"]
    assert seed_comparison(cells.filter(pl.col("policy") == "kvm-3.0")).height == 0


def test_a_run_is_summarised_from_its_files(tmp_path: Path) -> None:
    """Every policy of every guest has one row, with counts that are means over replicates."""
    store = make_run(tmp_path, replicate_batches(3))

    found = summarize(LabelledRun(store), small_model(), "kvm-3.0")

    cells = store.scan("cells").group_by("policy").agg(pl.col("exits").mean()).collect()
    assert found.select("policy", "exits").sort("policy").equals(cells.sort("policy"))
    assert found["replicates"].to_list() == [3] * 4
    assert found["elapsed_s"].min() > 0


def test_text_fits_the_page() -> None:
    """No line is wider than 120 columns, even for long names and large numbers."""
    name = "kvm-3.3[flood_threshold=64,prefetch=False,sync_zaps_empty=True]"
    changes = {"exits": 123_456_789_012, "insn_emulation": 10**12, "fatal": 1, "lock_wait_ns": 10**15}
    cells = pl.concat([example(), pl.DataFrame(times(name, [1e6, 2e6, 9e6], **changes))])

    text = render(summarize_cells(cells, "kvm-3.0"), "text", seed_comparison(cells))

    assert max(cell_len(line) for line in text.splitlines()) <= WIDTH
    assert "kvm-3.3[flood_t…ps_empty=True] !" in text


EXPECTED = """\
kernbench on small (2 vCPU, 512 MiB): native 90 s, 3 replicates
! host BUG, the machine dies, so there are no numbers: eager
policy   elapsed s  diff %   95 % interval  exits  emulations  floods  zaps  lock s
-----------------------------------------------------------------------------------
eager !       dies       -               -      -           -       -     -       -
kvm-3.0     180.00   +0.00  [+0.00, +0.00]  12.3M       4.57k      12  100k    1.50
xiao-v1     170.87   -5.00  [-7.48, -2.52]  12.3M       4.57k      12  100k    1.50
"""


def test_text_is_what_an_engineer_reads() -> None:
    """A sheet has title, warning, header and a row per policy: one under which the host dies has no number in it."""
    cells = example().filter(pl.col("policy").is_in(["kvm-3.0", "xiao-v1"]))
    dying = pl.DataFrame(times("eager", [1.0, 2.0]) + times("eager", [3.0], fatal=7, replicate=2, trace_digest="t2"))

    assert render(summarize_cells(pl.concat([cells, dying]), "kvm-3.0"), "text") == EXPECTED


def test_a_death_leaves_the_others_as_they_are() -> None:
    """A policy under which the host dies has nulls, the verdict `dies` and no place in the family of its rivals."""
    dying = pl.DataFrame(times("eager", [1.0, 2.0, 3.0], fatal=1))
    alone, beside = (summarize_cells(cells, "kvm-3.0") for cells in (example(), pl.concat([example(), dying])))

    (dead,) = beside.filter(pl.col("policy") == "eager").to_dicts()
    assert {name for name, value in dead.items() if value is not None} == {
        *("workload", "guest", "vcpus", "memory_mib", "policy", "replicates", "native_s", "verdict", "fatal")
    }
    assert (dead["verdict"], dead["fatal"]) == ("dies", 1.0)
    assert beside.filter(pl.col("policy") != "eager").equals(alone)


def test_nothing_is_compared_with_a_baseline_that_dies() -> None:
    """Where the host dies under the baseline, others keep their times and have no difference; the sheet says why."""
    cells = pl.concat([example(), pl.DataFrame(times("eager", [1.0, 2.0, 3.0], fatal=1))])
    summary = summarize_cells(cells, "eager")

    others = summary.filter(pl.col("policy") != "eager")
    assert others["verdict"].unique().to_list() == ["baseline dies"]
    assert others["difference_percent"].is_null().all()
    assert others["elapsed_s"].is_not_null().all()
    assert "the baseline is among them: nothing can be compared with it" in render(summary, "text")


def test_other_forms_hold_the_same_rows() -> None:
    """JSON and CSV hold every row and digit, Markdown one line per row."""
    summary, comparison = summarize_cells(example(), "kvm-3.0"), seed_comparison(example())

    content = json.loads(render(summary, "json", comparison))
    markdown = render(summary, "md", comparison)

    assert content["summary"] == summary.to_dicts()
    assert content["comparison"] == comparison.to_dicts()
    assert pl.read_csv(render(summary, "csv").encode()).rows() == summary.rows()
    assert "| xiao-v1 | 170.87 | -5.00 | [-7.48, -2.52] | 12.3M |" in markdown
    assert "| published | -6.14 |" in markdown
    assert "| published | 1.83 | [1.82, 1.86] |" in markdown


def test_an_unknown_form_is_named() -> None:
    """Forms have four names."""
    with pytest.raises(ValueError, match="form 'xml' is not one of text, md, csv, json"):
        render(summarize_cells(example(), "kvm-3.0"), "xml")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_960, "1.00M"), (45.5e9, "45.5G")],
)
def test_counts_are_short(count: float, expected: str) -> None:
    """A count takes at most five signs."""
    assert compact_count(count) == expected


def test_short_names_stay() -> None:
    """Only names that are too long lose their middle."""
    assert shortened("kvm-3.0") == "kvm-3.0"
    assert shortened("abcdefghij", width=7) == "abc…hij"


def test_cells_have_identities_of_their_own() -> None:
    """Two policies on one trace are two cells."""
    assert cell("kvm-3.0").cell_id != cell("kvm-3.3").cell_id
