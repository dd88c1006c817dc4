"""The verdict in words: it claims what `sweep compare` claims, for the whole grid together, and no more."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.vocabulary import COUNTER_NAMES
from results.charts.change import heat_map
from results.charts.export import chart_bytes, paper_spec, vega_lite
from results.charts.pareto import BEATEN, FRONT, trade_off_chart
from results.charts.theme import LAYOUTS
from results.compare.question import Question, compare_runs
from results.ranked_run import RankedRun
from results.report.figures import size_figures
from results.report.words import Answer, answer
from tests.support.made_tables import Made
from tests.support.synthetic import small_model

BASE_NS = 1_500_000_000
DIFFERENCES = (-2.46, -2.0, -1.54)
"""Mean -2 %, deviation 0.46 %: over three replicates the interval is -3.14 to -0.86 %, the p-value about 0.03."""


def grid(
    differences: dict[str, Sequence[float]], *, guests: int, last: dict[str, Sequence[float]] | None = None
) -> RankedRun:
    """Return a run in which each policy differs from `base` on each guest by these percentages, a replicate each.

    `last` has other percentages for the last guest. A window takes 1 s natively and an exit costs 1 µs, so that exits
    alone make the time.
    """
    policies = ("base", *differences)
    made = Made(policies=policies, workloads=1, guests=guests, replicates=len(next(iter(differences.values()))))
    changes = {"base": [0.0] * 100} | differences
    final = changes | (last or {})
    places = made.rows["guest"].unique().sort().to_list()
    ns = [
        BASE_NS * (1.0 + (final if guest == places[-1] else changes)[policy][replicate] / 100.0)
        for policy, guest, replicate in made.rows.select("policy", "guest", "replicate").iter_rows()
    ]
    zeros = np.zeros(made.rows.height, dtype=np.int64)
    counts = dict.fromkeys(COUNTER_NAMES, zeros) | {"exits": np.round((np.array(ns) - 1e9) / 1e3).astype(np.int64)}
    made.rows = made.rows.with_columns(**{name: pl.Series(values) for name, values in counts.items()})
    made.spec = {"name": "grid", "policies": [{"name": one} for one in policies], "workloads": []}
    return RankedRun(run=made, costs=small_model(), baseline="base")


def words(found: Answer) -> str:
    """Return everything that is said about policies."""
    return " ".join([found.headline, *(f"{about}: {text}" for about, text in (*found.points, *found.others))])


def test_one_difference_alone_is_claimed() -> None:
    """On one guest the interval decides: it excludes the minimum effect, so the policy is surely better."""
    found = answer(grid({"new": DIFFERENCES}, guests=1), None)

    assert found.headline.startswith("`new` is the best of 2 policies: −2.0")
    assert "How sure: It is surely better on the one guest (3 replicates" in words(found)


def test_many_such_differences_are_not_claimed() -> None:
    """On twenty guests the same intervals exclude zero, but corrected for all of them nothing is sure or bold."""
    ranked = grid({"new": DIFFERENCES}, guests=20)

    found = answer(ranked, None)

    rows = ranked.summary.filter(policy="new")
    assert rows["difference_high"].max() == pytest.approx(-0.857, abs=1e-3)
    assert rows["verdict"].unique().to_list() == ["not enough replicates"]
    assert found.headline.startswith("No gain is sure: `new` comes first of 2 policies with −2.0")
    assert "surely better" not in words(found)
    assert "How sure: It is not decided on all 20 guests" in words(found)
    assert "any of the 20 verdicts against `base` is wrong is at most 5 %" in found.meaning
    texts = [row["text"] for row in drawn(ranked) if row["policy"] == "new"]
    assert texts == ["~−2.0"] * 20


def test_the_page_ranks_by_the_last_row_of_compare(ranked: RankedRun) -> None:
    """The mean change by which the page ranks policies is the geometric mean that `sweep compare` prints."""
    (table,) = compare_runs([ranked.run], Question(rows=("workload", "guest"), cols=("policy",)), ranked.costs)

    ranked = dict(ranked.ranking(ranked.summary).select("policy", "mean").iter_rows())

    printed = table.geomean.filter(pl.col("difference_percent").is_not_null())
    assert printed.height > 1
    for row in printed.iter_rows(named=True):
        assert row["difference_percent"] == pytest.approx(ranked[row["policy"]])


def drawn(ranked: RankedRun) -> list[dict[str, Any]]:
    """Return the rows behind the heat map."""
    (rows,) = vega_lite(heat_map(ranked.summary, LAYOUTS["page"], "base"))["datasets"].values()
    return list(rows)


def test_policies_are_sorted_by_what_is_sure() -> None:
    """Each policy stands under the heading of its verdicts: better, worse, no difference, undecided, no effect."""
    ranked = grid(
        {
            "best": [-5.0, -5.1, -4.9],
            "good": [-3.0, -3.1, -2.9],
            "bad": [3.0, 3.1, 2.9],
            "same": [0.1, 0.11, 0.09],
            "open": [-3.0, 3.0, 1.0],
            "idle": [0.0, 0.0, 0.0],
        },
        guests=2,
    )

    found = answer(ranked, None)

    assert {about: text.partition("`")[2].partition("`")[0] for about, text in found.others} == {
        "Faster everywhere": "good",
        "Slower everywhere": "bad",
        "No difference": "same",
        "Not decided": "open",
        "No effect": "idle",
    }
    assert "Exceptions: None: nowhere is a policy surely faster than `best` by more than 0.5 %." in words(found)


def test_the_best_is_called_so_if_it_is_surely_ahead_of_all_others() -> None:
    """A policy that is surely ahead of the runner-up, too, is the best; no reservation is made."""
    found = answer(grid({"first": [-5.0, -5.1, -4.9], "second": [-3.0, -3.1, -2.9]}, guests=2), None)

    assert found.headline.startswith("`first` is the best of 3 policies: −5.0")
    assert found.headline.endswith("to −5.0\u00a0%.")
    assert "Too close" not in words(found)


def test_a_runner_up_that_is_not_surely_behind_is_in_the_headline() -> None:
    """A policy that surely beats the baseline, and not the runner-up, comes first and is not called the best."""
    found = answer(grid({"first": [-5.0, -5.1, -4.9], "second": [-3.0, -7.0, -4.0]}, guests=2), None)

    assert found.headline.startswith("`first` comes first of 3 policies: −5.0")
    assert found.headline.endswith("; not to be told from it everywhere: `second`.")
    assert "is the best" not in found.headline
    assert "Too close: Not to be told from it with these replicates: `second` everywhere." in words(found)


def test_one_undecided_guest_is_named() -> None:
    """A rival that is surely behind on two guests and undecided on a third is said to be so, with the guest."""
    ranked = grid(
        {"first": [-5.0, -5.1, -4.9], "second": [-3.0, -3.1, -2.9]}, guests=3, last={"second": [-3.0, -7.0, -4.0]}
    )
    place = ranked.summary["guest"].unique().sort()[-1]

    found = answer(ranked, None)

    assert found.headline.endswith("; not to be told from it everywhere: `second`.")
    assert f"Too close: Not to be told from it with these replicates: `second` on {place}." in words(found)


def test_one_that_is_as_good_is_in_the_headline() -> None:
    """A policy that is surely within the minimum effect of the first one keeps it from being called the best."""
    found = answer(grid({"first": [-5.0, -5.1, -4.9], "twin": [-4.9, -5.0, -4.8]}, guests=2), None)

    assert found.headline.endswith("; as good: `twin`.")


def test_predictions_are_counted_by_what_they_predict() -> None:
    """A ratio that is never met does not hide behind changes that are: each comparison has its own count."""
    predicted = pl.DataFrame(
        {
            "comparison": ["a -> b", "a -> b", "a / c", "a / c"],
            "predicted": [-5.0, -9.0, 3.0, 4.0],
            "published_low": [-6.0, -6.0, 1.0, 1.0],
            "published_high": [-4.0, -4.0, 2.0, 2.0],
        }
    )

    found = answer(grid({"new": DIFFERENCES}, guests=1), predicted)

    assert "Of the predictions, 1 of 2 of a to b and 0 of 2 of a / c lie inside the 95 % range" in words(found)


def test_one_replicate_claims_nothing() -> None:
    """Without replicates there is an order and no claim."""
    found = answer(grid({"new": [-2.0], "old": [3.0]}, guests=2), None)

    assert "One replicate says nothing about chance" in words(found)
    assert "surely" not in words(found)
    assert [about for about, _ in found.others] == ["Not decided"]


def test_the_page_says_what_compare_says(ranked: RankedRun) -> None:
    """Differences, intervals, p-values and verdicts of a real run are those of `sweep compare` over the same grid."""
    question = Question(rows=("workload", "guest"), cols=("policy",))
    (table,) = compare_runs([ranked.run], question, ranked.costs)

    keys = ["workload", "guest", "policy"]
    both = ranked.summary.join(table.cells, on=keys, suffix="_compared")
    compared = both.filter(pl.col("verdict") != "baseline")

    assert both.height == ranked.summary.height
    assert both["verdict"].to_list() == both["verdict_compared"].to_list()
    for name in ("difference_percent", "difference_low", "difference_high", "p_holm"):
        assert compared[name].to_list() == pytest.approx(compared[f"{name}_compared"].to_list(), nan_ok=True)


def test_a_cluster_names_the_front_first() -> None:
    """Where points of the trade-off share a label, those that nobody beats come first in it."""
    rows = pl.DataFrame(
        {
            "policy": ["beaten", "also", "best", "far"],
            "panel": "1 vCPU",
            "size": "1 GiB",
            "elapsed_s": [10.0, 10.1, 10.0, 90.0],
            "exits": [1.1e6, 1.0e6, 1.0e6, 9.0e6],
            "pages_peak": 5.0,
            "standing": [BEATEN, BEATEN, FRONT, BEATEN],
        }
    )

    drawn = vega_lite(trade_off_chart(rows, LAYOUTS["page"]))

    (values,) = drawn["datasets"].values()
    assert [row["names"] for row in values if row["names"]] == ["best, beaten and also", "far"]


def dying(ranked: RankedRun, policy: str, guest: str) -> RankedRun:
    """Return a run in whose second replicate the host dies under a policy on a guest."""
    run = ranked.run
    assert isinstance(run, Made)
    dies = (pl.col("policy") == policy) & (pl.col("guest") == guest) & (pl.col("replicate") == 1)
    run.rows = run.rows.with_columns(fatal=dies.cast(pl.Int64))
    return RankedRun(run=run, costs=ranked.costs, baseline=ranked.baseline)


def test_a_policy_that_kills_the_host_has_no_rank() -> None:
    """Where the host dies on one guest, the policy is named with it and comes nowhere, however fast it is elsewhere."""
    fast = {"new": [-20.0, -20.1, -19.9], "safe": [-2.0, -2.1, -1.9]}
    found = answer(dying(grid(fast, guests=4), "new", "guest 1"), None)

    assert found.headline.startswith("`safe` is the best of 2 policies: −2.0")
    assert "Fatal: The host dies (BUG) under `new` on guest 1: there are no times for them there" in words(found)
    assert "20.0" not in words(found)


def test_of_a_baseline_that_dies_everywhere_nothing_is_said_but_that() -> None:
    """Where the host dies under the baseline on the only guest, the page compares nothing and says why."""
    found = answer(dying(grid({"new": DIFFERENCES}, guests=1), "base", "guest 0"), None)

    assert found.headline == "Nothing can be compared: the host dies under the baseline `base`."
    assert "nothing can be compared" in words(found)
    assert "%" not in words(found)


def test_curves_say_where_the_host_dies() -> None:
    """In the panel of a policy the word stands at the guest on which it kills the host; elsewhere its points are."""
    ranked = dying(grid({"new": [-20.0, -20.1, -19.9]}, guests=4), "new", "guest 1")

    (figure, *_) = size_figures(ranked, ranked.summary)
    drawing = chart_bytes(paper_spec(figure.draw(LAYOUTS["paper"]), LAYOUTS["paper"]), "svg").decode()

    assert drawing.count(">dies</text>") == 1
    assert drawing.count('aria-roledescription="point"') == 3
