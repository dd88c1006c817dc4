"""Explanations as sheets and as plain values. Every figure in a sheet is exact, so that its columns add up by hand."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import polars as pl

from results.explain.activities import plain
from results.explain.explain import ROUNDING, Explanation, Line, Pair
from results.render import Sheet, shortened
from results.statistics.verdicts import Verdict

_NAME_WIDTH: Final = 16
_PARTS_NAMED: Final = 2
"""Parts that are named per stretch of time; JSON has all of them."""
_COUNTERS_NAMED: Final = 3
"""Counters that are named per activity; JSON has all of them."""


def explanation_sheets(found: Explanation, activities: pl.DataFrame | None) -> Iterator[Sheet]:
    """Yield the lines, then the stretches of time and the activities as far as they were asked for."""
    yield _lines_sheet(found)
    if found.windows.height:
        yield _windows_sheet(found)
    if activities is not None:
        yield _activities_sheet(found, activities)


def lines_frame(found: Explanation) -> pl.DataFrame:
    """Return one row per line: where it belongs, counts and cycles each of both sides, cycles and ns of difference."""
    rows = [
        {
            "workload": found.pair.workload,
            "guest": found.pair.guest,
            "policy": found.pair.policy,
            "baseline": found.pair.baseline,
            "part": line.part,
            "line": line.name,
            "count": line.count,
            "count_baseline": line.count_baseline,
            "cycles_each": None if line.cycles_each is None else float(line.cycles_each),
            "cycles_each_baseline": None if line.cycles_each_baseline is None else float(line.cycles_each_baseline),
            "cycles": plain(line.cycles),
            "elapsed_ns": line.elapsed_ns,
        }
        for line in found.lines
    ]
    is_whole = all(line.cycles.denominator == 1 for line in found.lines)
    types = {"count": pl.Int64, "count_baseline": pl.Int64, "cycles_each": pl.Float64, "elapsed_ns": pl.Int64}
    types |= {"cycles_each_baseline": pl.Float64, "cycles": pl.Int64 if is_whole else pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def explanation_content(found: Explanation, activities: pl.DataFrame | None) -> dict[str, Any]:
    """Return an explanation as plain values for JSON."""
    names = ("workload", "guest", "policy", "baseline")
    content: dict[str, Any] = {
        **{name: getattr(found.pair, name) for name in names},
        "replicates": found.pair.replicates,
        "elapsed_ns": found.elapsed_ns,
        "elapsed_ns_baseline": found.elapsed_ns_baseline,
        "difference_ns": found.difference_ns,
        "difference_cycles": plain(found.difference_cycles),
        "lines": lines_frame(found).drop(names).to_dicts(),
    }
    if found.windows.height:
        content["windows"] = found.windows.to_dicts()
    if activities is not None:
        content["activities"] = activities.to_dicts()
    return content


def death_content(pair: Pair) -> dict[str, Any]:
    """Return a pair that can't be explained as plain values for JSON: where there would be numbers there is null."""
    names = ("workload", "guest", "policy", "baseline", "replicates")
    verdict = Verdict.DIES if pair.policy in pair.deaths else Verdict.BASELINE_DIES
    nothing = dict.fromkeys(("elapsed_ns", "elapsed_ns_baseline", "difference_ns", "difference_cycles"))
    return {
        **{name: getattr(pair, name) for name in names},
        "verdict": verdict,
        "dies": dict(pair.deaths),
        **nothing,
        "lines": [],
    }


def _lines_sheet(found: Explanation) -> Sheet:
    pair = found.pair
    parts: dict[str, list[Line]] = {}
    for line in found.lines:
        parts.setdefault(line.part, []).append(line)
    ranked = sorted(parts.items(), key=lambda item: (item[0] == ROUNDING, -abs(sum(one.elapsed_ns for one in item[1]))))
    rows: list[tuple[str, ...]] = []
    for part, lines in ranked:
        counted = [line for line in lines if line.count is not None]
        cycles = sum((line.cycles for line in counted), Fraction())
        rows.append(_row(part, cycles if counted else None, sum(line.elapsed_ns for line in lines), found))
        rows += [_line_row(line, found) for line in sorted(counted, key=lambda line: -abs(line.elapsed_ns))]
    rows.append(_row("sum", found.difference_cycles, sum(line.elapsed_ns for line in found.lines), found))
    together = f"{pair.replicates} replicates together" if pair.replicates > 1 else "1 replicate"
    title = (
        f"{pair.workload} on {pair.guest}, {together}: {pair.policy} takes {found.elapsed_ns:,} ns, {pair.baseline} "
        f"{found.elapsed_ns_baseline:,} ns; the difference is {found.difference_ns:+,} ns "
        f"({100.0 * found.difference_ns / found.elapsed_ns_baseline:+.2f} %)"
    )
    sides = (shortened(pair.policy, _NAME_WIDTH), shortened(pair.baseline, _NAME_WIDTH))
    header = ("where from", *sides, "cycles each", "cycles", "elapsed ns", "%")
    return Sheet(title=title, header=header, rows=tuple(rows))


def _row(name: str, cycles: Fraction | None, elapsed_ns: int, found: Explanation) -> tuple[str, ...]:
    return (name, "", "", "", "" if cycles is None else _exact(cycles), f"{elapsed_ns:+,}", _share(elapsed_ns, found))


def _line_row(line: Line, found: Explanation) -> tuple[str, ...]:
    each = {value for value in (line.cycles_each, line.cycles_each_baseline) if value}
    return (
        f"  {line.name}",
        f"{line.count:,}",
        f"{line.count_baseline:,}",
        " or ".join(f"{_tenths(value):,}" for value in sorted(each)),
        _exact(line.cycles),
        f"{line.elapsed_ns:+,}",
        _share(line.elapsed_ns, found),
    )


def _windows_sheet(found: Explanation) -> Sheet:
    rows = []
    for _, stretch in found.windows.group_by("stretch", maintain_order=True):
        parts = stretch.group_by("part", maintain_order=True).agg(pl.col("elapsed_ns").sum())
        largest = parts.sort(pl.col("elapsed_ns").abs(), descending=True, maintain_order=True).head(_PARTS_NAMED)
        total = int(stretch["elapsed_ns"].sum())
        words = ", ".join(f"{part} {elapsed:+,}" for part, elapsed in largest.iter_rows())
        place = f"{stretch['from_s'][0]:.2f} to {stretch['to_s'][0]:.2f} s"
        rows.append((place, f"{total:+,}", _share(total, found), words))
    rows.append(("sum", f"{found.windows['elapsed_ns'].sum():+,}", _share(found.difference_ns, found), ""))
    title = f"over native guest time: difference in ns, and the {_PARTS_NAMED} parts that make most of it"
    return Sheet(title=title, header=("native time", "elapsed ns", "%", "most of it"), rows=tuple(rows))


def _activities_sheet(found: Explanation, activities: pl.DataFrame) -> Sheet:
    own = activities.group_by("activity", maintain_order=True).agg(
        pl.col("count", "count_baseline").filter(pl.col("line") == "exits").sum(), pl.col("cycles").sum()
    )
    rows = []
    for row in own.sort(pl.col("cycles").abs(), descending=True, maintain_order=True).iter_rows(named=True):
        lines = activities.filter((pl.col("activity") == row["activity"]) & (pl.col("cycles") != 0))
        largest = lines.sort(pl.col("cycles").abs(), descending=True, maintain_order=True).head(_COUNTERS_NAMED)
        words = ", ".join(largest["line"].to_list())
        cycles = f"{row['cycles']:+,}"
        rows.append((row["activity"], f"{row['count']:,}", f"{row['count_baseline']:,}", cycles, words))
    total = activities["cycles"].sum()
    exits = activities.filter(pl.col("line") == "exits").select(pl.col("count", "count_baseline").sum()).row(0)
    rows.append(("sum", f"{exits[0]:,}", f"{exits[1]:,}", f"{total:+,}", ""))
    pair = found.pair
    sides = tuple(f"exits {shortened(name, _NAME_WIDTH)}" for name in (pair.policy, pair.baseline))
    title = "by what the guest was doing: exits of both, and cycles of all vCPUs by which they differ"
    return Sheet(title=title, header=("activity", *sides, "cycles", "most of it"), rows=tuple(rows))


def _exact(value: Fraction) -> str:
    return f"{_tenths(value):+,}"


def _tenths(value: Fraction) -> int | float:
    """Return a whole number as it is, and another one to a tenth: JSON and CSV have all digits."""
    return plain(value) if value.denominator == 1 else round(float(value), 1)


def _share(elapsed_ns: int, found: Explanation) -> str:
    # Adding zero turns minus zero into zero.
    return f"{round(100.0 * elapsed_ns / found.difference_ns, 1) + 0.0:.1f}" if found.difference_ns else "-"
