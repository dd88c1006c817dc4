"""Where the difference between two policies comes from: lines that add up to it, to the cycle and to the nanosecond.

Two sums, both exact:

    cycles   difference of counts times cycles each, in rational numbers: what the hypervisor's work differs by, over
             all vCPUs. The lines of the counters add up to the difference of the totals.
    elapsed  each line's share of the elapsed time, in whole ns: per window cycles / GHz / concurrency, waiting for the
             lock / concurrency, and the rounding of windows to whole ns, exactly as pricing composes a window.
             The lines add up to the difference of `elapsed_ns` that every summary shows.

The second sum is computed in doubles and made whole by the method of largest remainders, so that each line is less than
1 ns from its value and none is left over. docs/how-to/explain.md shows how to read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from fractions import Fraction
from math import floor
from operator import eq
from typing import Any, Final

import polars as pl

from engine.vocabulary import COUNTER_NAMES
from results.prices.cost_groups import NATIVE, WAITING, part_of
from results.prices.cost_model import CostModel
from results.prices.pricing import by_paging, elapsed_expression, rate_windows
from results.statistics.pairing import PLACE, ComparisonError, pair_with
from results.store.labels import LabelledRun
from results.wording import counted

ROUNDING: Final = "rounding of windows to whole ns"
GUEST: Final = "the guest itself"
_TOLERANCE_NS: Final = 0.01
"""Sums of doubles may be off by so much: 1e-16 of a run of days, in ns."""
_CELL: Final = ("cell_id", "policy", "host_paging", "workload", "guest", "replicate", "trace_digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is explained: two policies on one workload and guest, all replicates that both have together."""

    policy: str
    baseline: str
    workload: str
    guest: str
    replicates: int
    cells: pl.DataFrame
    """cell_id, replicate, paging and `sign`: +1 for cells of the policy, -1 for those of the baseline."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """Policy -> replicates in which the host dies under it. With any, there is no time that could be explained."""

    @property
    def death(self) -> str:
        """Why there is nothing to explain; for a pair with deaths."""
        who = " and ".join(
            f"{policy} ({n} of {counted(self.replicates, 'replicate')})" for policy, n in self.deaths.items()
        )
        return f"{self.workload} on {self.guest}: the host dies under {who}, so there is no time to explain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One term of the difference: counts times cycles, or a time that has no count of its own."""

    name: str
    part: str
    count: int | None = None
    count_baseline: int | None = None
    cycles_each: Fraction | None = None
    cycles_each_baseline: Fraction | None = None
    elapsed_ns: int = 0

    @property
    def cycles(self) -> Fraction:
        """Cycles of all vCPUs by which the policies differ; 0 for times that are no cycles of the cost model."""
        return (self.count or 0) * (self.cycles_each or Fraction()) - (self.count_baseline or 0) * (
            self.cycles_each_baseline or Fraction()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The difference `policy` less `baseline`, all replicates added, as lines that sum to it."""

    pair: Pair
    lines: tuple[Line, ...]
    elapsed_ns: int
    elapsed_ns_baseline: int
    windows: pl.DataFrame
    """stretch, from_s, to_s, line, part, elapsed_ns: the lines over time; empty unless stretches were asked for."""

    @property
    def difference_ns(self) -> int:
        """By how much the elapsed times differ, all replicates added."""
        return self.elapsed_ns - self.elapsed_ns_baseline

    @property
    def difference_cycles(self) -> Fraction:
        """By how many cycles of all vCPUs the hypervisor's work differs, all replicates added."""
        return sum((line.cycles for line in self.lines), Fraction())


def pairs_of_policies(
    run: LabelledRun, policy: str, baseline: str, *, workload: str | None = None, guest: str | None = None
) -> list[Pair]:
    """Return one pair per workload and guest that has both policies; `workload` and `guest` may hold `*` and `?`.

    Raises:
        ComparisonError: a name is unknown, no cell has a partner, or partners met different traces.
    """
    known = run.scan("cells").select(*_CELL, dies=pl.col("fatal") > 0).collect(engine="streaming")
    kept = {}
    for column, name in (("policy", policy), ("policy", baseline), ("workload", workload), ("guest", guest)):
        found = known[column].unique().sort().to_list()
        is_name = fnmatchcase if column in {"workload", "guest"} else eq
        kept[column] = [one for one in found if name is None or one == name or is_name(one, name)]
        if not kept[column]:
            raise ComparisonError(f"no finished cell has {column} '{name}'. There are: {', '.join(found)}")
    if policy == baseline:
        raise ComparisonError(f"'{policy}' against itself differs in nothing: give two policies")
    rows = known.filter(pl.col(column).is_in(kept[column]) for column in ("workload", "guest"))
    sides = rows.filter(pl.col("policy").is_in([policy, baseline]))
    paired = pair_with(sides, baseline, ("cell_id", "policy", "host_paging", "dies"))
    both = paired.filter(pl.col("policy") == policy).sort(PLACE)
    if both.is_empty():
        raise ComparisonError(f"no replicate of a workload on a guest has both '{policy}' and '{baseline}'")
    return [_pair(group) for _, group in both.group_by("workload", "guest", maintain_order=True)]


def _pair(both: pl.DataFrame) -> Pair:
    first = both.row(0, named=True)
    cells = [
        both.select(
            cell_id=f"cell_id{suffix}", replicate="replicate", host_paging=f"host_paging{suffix}", sign=pl.lit(sign)
        )
        for suffix, sign in (("", 1), ("_baseline", -1))
    ]
    return Pair(
        policy=first["policy"],
        baseline=first["policy_baseline"],
        workload=first["workload"],
        guest=first["guest"],
        replicates=both.height,
        cells=pl.concat(cells),
        deaths={first[f"policy{side}"]: n for side in ("", "_baseline") if (n := int(both[f"dies{side}"].sum()))},
    )


def explain_pair(run: LabelledRun, costs: CostModel, pair: Pair, *, stretches: int = 0) -> Explanation:
    """Return where the difference of a pair comes from, with `stretches` also over so many parts of all time.

    They are as equal as whole windows allow.

    Raises:
        ComparisonError: the host dies under one of them, or the run is damaged: its windows do not add up.
    """
    if pair.deaths:
        raise ComparisonError(pair.death)
    sums = _sums(run, costs, pair, stretches=max(stretches, 1))
    terms = [name for name in sums.columns if name.startswith("ns:")]
    # Times up to the end of each stretch are made whole, so that a line's sum does not depend on where time is cut.
    running = sums.select(pl.col(*terms, "elapsed_ns").cum_sum())
    wholes = [apportioned({name: row[name] for name in terms}, row["elapsed_ns"]) for row in running.to_dicts()]
    elapsed = wholes[-1]
    before = [dict.fromkeys(terms, 0), *wholes[:-1]]
    parts = [{name: end[name] - start[name] for name in terms} for start, end in zip(before, wholes, strict=True)]
    counts = side_counts(run.scan("cells"), pair)[()]
    lines = [
        *(_line(counter, costs, counts, elapsed[f"ns:{counter}"]) for counter in costs.counters()),
        Line(name=WAITING, part=WAITING, elapsed_ns=elapsed[f"ns:{WAITING}"]),
        Line(name=GUEST, part=NATIVE, elapsed_ns=elapsed[f"ns:{GUEST}"]),
        Line(name=ROUNDING, part=ROUNDING, elapsed_ns=elapsed[f"ns:{ROUNDING}"]),
    ]
    return Explanation(
        pair=pair,
        lines=tuple(line for line in lines if line.cycles or line.elapsed_ns or line.name == WAITING),
        elapsed_ns=int(sums["elapsed_ours"].sum()),
        elapsed_ns_baseline=int(sums["elapsed_theirs"].sum()),
        windows=_over_time(sums, parts, stretches),
    )


def apportioned(terms: Mapping[str, float], total: int) -> dict[str, int]:
    """Return whole numbers that add up to `total`, each less than 1 from its term (method of largest remainders).

    Raises:
        ComparisonError: the terms do not add up to `total`, so that something is missing among them.
    """
    missing = total - sum(terms.values())
    if abs(missing) > _TOLERANCE_NS + 1e-12 * sum(map(abs, terms.values())):
        raise ComparisonError(f"the parts miss the whole by {missing:.3f} ns: windows and prices of this run disagree")
    whole = {name: floor(value) for name, value in terms.items()}
    left = total - sum(whole.values())
    # Equal fractions stay in the order of terms, whatever doubles make of them.
    ranked = sorted(terms, key=lambda name: round(terms[name] - whole[name], 4), reverse=True)
    # Rounding of doubles may leave one more or one less than there are fractions: the ends of the ranking take it.
    for name in ranked[: max(left, 0)]:
        whole[name] += 1
    for name in ranked[left:] if left < 0 else ():
        whole[name] -= 1
    return whole


def _sums(run: LabelledRun, costs: CostModel, pair: Pair, *, stretches: int) -> pl.DataFrame:
    """Return per stretch of time the terms of the difference, in ns, and the elapsed times of both sides."""
    counters = costs.counters()
    windows = run.scan("windows").join(pair.cells.lazy().select("cell_id", "sign"), on="cell_id", how="inner")
    last = pl.col("window").max() + 1
    place = {"start_ns": pl.col("start_ns"), "end_ns": pl.col("start_ns") + pl.col("length_ns")}
    also = [
        pl.col("sign"),
        (pl.col("window") * stretches // last).alias("stretch"),
        *(expression.alias(name) for name, expression in place.items()),
        *(_cycles(counter, costs).alias(f"cycles:{counter}") for counter in counters),
    ]
    rated = rate_windows(windows, costs, *also)
    share = pl.col("_concurrency") * costs.cpu_ghz.value
    terms = {
        **{f"ns:{counter}": pl.col(f"cycles:{counter}") / share for counter in counters},
        f"ns:{WAITING}": pl.col("_waiting") / pl.col("_concurrency"),
        f"ns:{GUEST}": pl.col("_native"),
        f"ns:{ROUNDING}": elapsed_expression() - (pl.col("_unqueued") + pl.col("_waiting") / pl.col("_concurrency")),
    }
    signed = {name: (term * pl.col("sign")).sum() for name, term in terms.items()}
    elapsed = elapsed_expression()
    return (
        rated.group_by("stretch")
        .agg(
            **signed,
            elapsed_ns=(elapsed * pl.col("sign")).sum(),
            elapsed_ours=elapsed.filter(pl.col("sign") > 0).sum(),
            elapsed_theirs=elapsed.filter(pl.col("sign") < 0).sum(),
            start_ns=pl.col("start_ns").min(),
            end_ns=pl.col("end_ns").max(),
        )
        .sort("stretch")
        .collect(engine="streaming")
    )


def _cycles(counter: str, costs: CostModel) -> pl.Expr:
    return pl.col(counter).cast(pl.Float64) * by_paging(lambda paging: costs.cycles(paging, counter))


def side_counts(rows: pl.LazyFrame, pair: Pair, by: Sequence[str] = ()) -> dict[tuple[Any, ...], dict[int, Any]]:
    """Return every counter of both sides, all replicates added: by the columns `by`, and by +1 or -1 for the side."""
    own = pair.cells.lazy().select("cell_id", "sign")
    totals = (
        rows.join(own, on="cell_id", how="inner")
        .group_by(*by, "sign", maintain_order=True)
        .agg(pl.col("host_paging").first(), pl.col(COUNTER_NAMES).sum())
    )
    found: dict[tuple[Any, ...], dict[int, Any]] = {}
    for row in totals.collect(engine="streaming").iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in by), {})[row["sign"]] = row
    return found


def _line(counter: str, costs: CostModel, counts: dict[int, dict[str, Any]], elapsed_ns: int) -> Line:
    ours, theirs = counts[1], counts[-1]
    return Line(
        name=counter,
        part=part_of(counter),
        count=ours[counter],
        count_baseline=theirs[counter],
        cycles_each=cycles_each(counter, costs, ours["host_paging"]),
        cycles_each_baseline=cycles_each(counter, costs, theirs["host_paging"]),
        elapsed_ns=elapsed_ns,
    )


def cycles_each(counter: str, costs: CostModel, paging: str) -> Fraction:
    """Return the cycles of a counter as the number that is written in the cost model, not as the nearest double."""
    return Fraction(str(costs.cycles(paging, counter)))


def _over_time(sums: pl.DataFrame, parts: Sequence[Mapping[str, int]], stretches: int) -> pl.DataFrame:
    schema = {
        "stretch": pl.Int64,
        **dict.fromkeys(("from_s", "to_s"), pl.Float64),
        **dict.fromkeys(("line", "part"), pl.String),
        "elapsed_ns": pl.Int64,
    }
    if not stretches:
        return pl.DataFrame(schema=schema)
    rows = [
        (row["stretch"], row["start_ns"] / 1e9, row["end_ns"] / 1e9, line, _part(line), value)
        for row, part in zip(sums.iter_rows(named=True), parts, strict=True)
        for line, value in ((name.removeprefix("ns:"), value) for name, value in part.items())
        if value
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _part(line: str) -> str:
    return {WAITING: WAITING, GUEST: NATIVE, ROUNDING: ROUNDING}.get(line) or part_of(line)
