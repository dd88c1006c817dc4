"""Verdicts: by hand, against scipy, and by simulation of what they promise over whole grids."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from results.statistics.moments import difference_moments
from results.statistics.verdicts import (
    VERDICTS,
    Judgement,
    Rule,
    Verdict,
    holm,
    judge,
    relative_difference,
    verdict_columns,
    verdict_words,
)


def judged(samples: np.ndarray, **rule: float) -> Judgement:
    """Return the judgement of samples whose last axis holds the replicates."""
    counts = np.full(samples.shape[:-1], samples.shape[-1])
    return judge(samples.mean(axis=-1), samples.std(axis=-1, ddof=1), counts, Rule(**rule))  # type: ignore[arg-type]


def groups(rows: list[tuple[str, float | None, float | None, int]]) -> pl.DataFrame:
    """Return a frame of comparisons: policy, mean, deviation, count."""
    types = {"policy": pl.String, "mean": pl.Float64, "deviation": pl.Float64, "count": pl.Int64}
    return pl.DataFrame(rows, schema=types, orient="row")


def test_each_verdict_has_its_part_of_the_scale() -> None:
    """Below, above, inside the minimum effect, across its edge: four verdicts; one replicate is never enough."""
    frame = groups(
        [
            ("base", 0.0, 0.0, 10),
            ("far below", -5.0, 0.1, 10),
            ("far above", 5.0, 0.1, 10),
            ("inside", 0.1, 0.1, 10),
            ("across", 0.5, 0.1, 10),
            ("wide", -5.0, 20.0, 10),
            ("alone", -5.0, None, 1),
            ("undefined", None, None, 10),
        ]
    )

    found = verdict_columns(frame, Rule(), baseline=pl.col("policy") == "base")

    assert found["verdict"].to_list() == [
        "baseline",
        "better",
        "worse",
        "no difference",
        "not enough replicates",
        "not enough replicates",
        "not enough replicates",
        "not enough replicates",
    ]
    assert found.filter(pl.col("low").is_null())["policy"].to_list() == ["alone", "undefined"]
    assert found.row(0, named=True) | {"policy": ""} == {
        "policy": "",
        "mean": 0.0,
        "deviation": 0.0,
        "count": 10,
        "low": 0.0,
        "high": 0.0,
        "p_value": None,
        "p_holm": None,
        "verdict": "baseline",
    }


@pytest.mark.parametrize(
    ("difference", "minimum_effect", "expected"),
    [
        (0.0, 0.0, Verdict.SAME),
        (0.0, 0.5, Verdict.SAME),
        (-0.4, 0.5, Verdict.SAME),
        (-0.6, 0.5, Verdict.BETTER),
        (0.6, 0.5, Verdict.WORSE),
        (-1e-6, 0.0, Verdict.BETTER),
    ],
)
def test_differences_without_spread_are_what_they_are(
    difference: float, minimum_effect: float, expected: Verdict
) -> None:
    """Two replicates of exactly the same difference decide by themselves; its interval has no width."""
    found = judged(np.full((1, 2), difference), minimum_effect=minimum_effect)

    assert verdict_words(found.code).to_list() == [expected]
    assert found.half_width.tolist() == [0.0]


def test_more_is_better_where_it_is() -> None:
    """For a metric of which more is better, a higher value is the better one."""
    samples = np.array([[5.0, 5.1, 5.2]])

    assert verdict_words(judged(samples, lower_is_better=False).code).to_list() == [Verdict.BETTER]
    assert verdict_words(judged(samples).code).to_list() == [Verdict.WORSE]


def test_p_value_is_that_of_the_nearest_edge() -> None:
    """The p-value is scipy's two-sided one-sample t test against the nearer of plus and minus the minimum effect."""
    samples = np.random.default_rng(7).normal(-1.2, 0.8, (50, 6))

    found = judged(samples, minimum_effect=0.5)

    edges = np.where(samples.mean(axis=1) < 0, -0.5, 0.5)
    expected = [stats.ttest_1samp(row, edge).pvalue for row, edge in zip(samples, edges, strict=True)]
    assert found.p_value == pytest.approx(expected)


def test_a_verdict_alone_is_its_interval() -> None:
    """With one comparison, a verdict other than `not enough` is given exactly where the interval crosses no edge."""
    rng = np.random.default_rng(3)
    for row in rng.normal(rng.uniform(-1.5, 1.5, 400)[:, None], 0.4, (400, 5)):
        found = judged(row[None, :])
        low, high = row.mean() - found.half_width[0], row.mean() + found.half_width[0]

        crossing = low <= -0.5 <= high or low <= 0.5 <= high

        assert (VERDICTS[found.code[0]] == Verdict.OPEN) == crossing


def test_holm_by_hand() -> None:
    """Holm's own scheme: the smallest of four p-values times four, the next times three, never falling."""
    p_values = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    members = np.array([True, True, True, True, False])

    assert holm(p_values, members) == pytest.approx([0.03, 0.06, 0.06, 0.02, 1.0])
    assert holm(np.stack([p_values, p_values[::-1]]))[1] == pytest.approx(holm(p_values)[::-1])


def test_looks_widen_intervals() -> None:
    """Seven looks make the interval that of one with a seventh of the error, and multiply the p-value."""
    samples = np.random.default_rng(1).normal(-1.0, 0.2, (3, 8))

    once, often = judged(samples), judged(samples, looks=7)

    deviation = samples.std(axis=1, ddof=1) / np.sqrt(8)
    assert often.half_width == pytest.approx(stats.t.ppf(1 - 0.05 / 14, 7) * deviation)
    assert often.p_value == pytest.approx(np.minimum(1.0, 7 * once.p_value))


def test_nothing_against_nothing_is_no_difference() -> None:
    """Equal values differ by 0 %, zero included; a value against zero has no difference in %."""
    frame = pl.DataFrame({"a": [0, 3, 5, 4], "b": [0, 0, 5, 5]})

    assert frame.select(d=relative_difference("a", "b"))["d"].to_list() == [0.0, None, 0.0, pytest.approx(-20.0)]


CONFIGURATIONS = {
    "all at the edge": np.full(40, 0.5),
    "edges and far away": np.repeat([0.5, -0.5, 6.0, -6.0], 10),
    "edges and near": np.repeat([0.5, -0.5, 1.2, 0.0], 10),
    "no difference at all": np.zeros(40),
}


@pytest.mark.parametrize("truth", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
@pytest.mark.parametrize("shared", [0.0, 0.8], ids=["independent", "shared baseline"])
def test_a_grid_holds_a_wrong_verdict_in_one_case_of_twenty(truth: np.ndarray, shared: float) -> None:
    """Of 4000 grids of 40 comparisons, at most 5 % (and three standard errors: 6.1 %) hold a wrong verdict.

    A true difference at the edge makes every verdict about it wrong, which is the hardest case. `shared` is the part of
    the variance that comparisons have in common, as those with the same baseline do.
    """
    rng = np.random.default_rng(11)
    grids, replicates = 4000, 5
    own = rng.normal(0.0, np.sqrt(1.0 - shared), (grids, truth.size, replicates))
    common = rng.normal(0.0, np.sqrt(shared), (grids, 1, replicates))

    found = judged(truth[:, None] + 0.5 * (own + common))

    right = np.where(np.abs(truth) < 0.5, 2, np.where(truth < -0.5, 0, np.where(truth > 0.5, 1, 3)))
    wrong = (found.code != right) & (found.code != VERDICTS.index(Verdict.OPEN))
    rate = wrong.any(axis=1).mean()
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / grids)


def test_without_correction_a_grid_would_mislead() -> None:
    """The same grids judged comparison by comparison hold a wrong verdict in most cases: the correction is needed."""
    samples = 0.5 + 0.5 * np.random.default_rng(11).normal(0.0, 1.0, (1000, 40, 5))

    alone = judged(samples).p_value <= 0.05

    assert alone.any(axis=1).mean() > 0.8


def test_columns_agree_with_arrays() -> None:
    """The frame's verdicts are those of the matrix, in its order, and keep the other columns."""
    samples = np.random.default_rng(5).normal([[-2.0], [0.0], [0.4], [3.0]], 0.3, (4, 6))
    frame = pl.DataFrame({"policy": list("abcd"), "d": samples.tolist()}).explode("d")

    found = verdict_columns(difference_moments(frame, "d", ["policy"]), Rule())

    expected = judged(samples)
    assert found["policy"].to_list() == list("abcd")
    assert found["verdict"].to_list() == verdict_words(expected.code).to_list()
    assert found["p_holm"].to_numpy() == pytest.approx(expected.p_holm)
    assert (found["high"] - found["low"]).to_numpy() == pytest.approx(2 * expected.half_width)
