"""The figures of a report: each with a title, a caption, words for those who can't see it, and the table behind it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import altair as alt
import polars as pl

from results.charts.breakdown import breakdown, stacked_time
from results.charts.change import changes, heat_map
from results.charts.curves import has_curve, knob_curve, knob_families, size_curves, size_rows, without_effect
from results.charts.frames import show_guests
from results.charts.pareto import trade_off, trade_off_chart
from results.charts.theme import Layout
from results.charts.timeline import BINS, strips, timeline
from results.prices.cost_groups import NATIVE
from results.ranked_run import BASELINE, RankedRun
from results.render import probability
from results.report.html import PageColumn, words
from results.report.phrases import signed

DETAILED_WORKLOADS: Final = 3
"""Workloads for which more than the grid is drawn."""
KNOBS_MAX: Final = 4
_WHO: Final = words("policy", "guest")
CHANGES: Final = (
    *_WHO,
    PageColumn(name="elapsed_s", heading="elapsed, s", form="{:.2f}"),
    PageColumn(name="difference_percent", heading="change, %", form="{:+.2f}"),
    PageColumn(name="difference_low", heading="95 % from", form="{:+.2f}"),
    PageColumn(name="difference_high", heading="to", form="{:+.2f}"),
    PageColumn(name="p_holm", heading="p (Holm)", form=probability),
    *words("verdict"),
    PageColumn(name="replicates", heading="replicates"),
    PageColumn(name="exits", heading="exits", form="{:,.0f}"),
    PageColumn(name="insn_emulation", heading="emulations", form="{:,.0f}"),
    PageColumn(name="mmu_flooded", heading="floods", form="{:,.0f}"),
    PageColumn(name="mmu_shadow_zapped", heading="zaps", form="{:,.0f}"),
    PageColumn(name="lock_wait_s", heading="lock waiting, s", form="{:.2f}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One chart with everything that stands around it."""

    name: str
    kind: str
    """What `sweep plot` calls charts of this kind."""
    title: str
    caption: str
    words: str
    """What the chart shows, for those who can't see it."""
    draw: Callable[[Layout], alt.TopLevelMixin]
    rows: pl.DataFrame | None = None
    columns: Sequence[PageColumn] = ()


def grid_figures(ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield a heat map per workload, and its changes with their intervals."""
    several = summary["workload"].n_unique() > 1
    for index, ((workload,), rows) in enumerate(summary.group_by("workload", maintain_order=True)):
        known = rows.filter(pl.col("difference_percent").is_not_null()).sort("difference_percent")
        if known.is_empty():
            continue
        best, worst = known.row(0, named=True), known.row(-1, named=True)
        yield Figure(
            name=f"grid-{index}",
            title=str(workload) if several else "Every policy on every guest",
            kind="grid",
            caption=(
                f"Change of elapsed time against `{ranked.baseline}` in %, mean over replicates, best policy first. "
                f"Blue is faster, orange slower. Bold: surely by more than {ranked.rule.minimum_effect:g} %; plain: "
                "surely by less; ~: not enough replicates to say. Yardstick: nobody can install it. Dies: the host "
                "does (BUG), so there is no number."
            ),
            words=(
                f"Heat map of {rows['policy'].n_unique()} policies by {rows['guest'].n_unique()} guests. Least: "
                f"{best['policy']} on {best['guest']} with {signed(best['difference_percent'])}; most: "
                f"{worst['policy']} on {worst['guest']} with {signed(worst['difference_percent'])}."
            ),
            draw=partial(heat_map, rows, baseline=ranked.baseline),
            rows=rows,
            columns=CHANGES,
        )
        yield Figure(
            name=f"changes-{index}",
            kind="changes",
            title=_named("Every change with its interval", str(workload), summary),
            caption=(
                f"Change of elapsed time against `{ranked.baseline}` in % with its 95 % interval. The scale is linear "
                "up to 3 % and logarithmic beyond."
            ),
            words=f"A dot and an interval for each of {known.height} pairs of policy and guest, in percent.",
            draw=partial(changes, rows, baseline=ranked.baseline),
        )


def size_figures(ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield curves over vCPUs and memory, per workload."""
    for index, (workload, rows) in enumerate(_detailed(summary)):
        for over, title in (("vcpus", "Over vCPUs"), ("memory", "Over memory")):
            if has_curve(rows, over):
                yield Figure(
                    name=f"{over}-{index}",
                    kind=over,
                    title=_named(title, workload, summary),
                    caption=(
                        f"Change of elapsed time against `{ranked.baseline}` in %, a panel with a scale of its own "
                        "per policy; bars are 95 % intervals, often smaller than the dots, where there are replicates."
                        f"{_left_out(rows)}"
                    ),
                    words=f"Curves of the change of elapsed time over the {over} of the guest, one panel per policy.",
                    draw=partial(size_curves, rows, over=over),
                )


def _left_out(rows: pl.DataFrame) -> str:
    """Say which policies have no curve."""
    same = without_effect(rows)
    names = ", ".join(f"`{name}`" for name in same)
    drawn, known = (frame.filter(pl.col("role") != BASELINE)["label"].n_unique() for frame in (size_rows(rows), rows))
    texts = []
    if drawn < known - len(same):
        texts.append(f" The best and the worst {drawn} of {known - len(same)} policies are drawn.")
    if names:
        texts.append(f" Not drawn, for they make no difference on any guest: {names}.")
    return "".join(texts)


def knob_figures(ranked: RankedRun, summary: pl.DataFrame, knob: str | None = None) -> Iterator[Figure]:
    """Yield curves over the knobs that the policies of the run vary, or over one of them, per workload."""
    every = list(knob_families(ranked))
    families = every[:KNOBS_MAX] if knob is None else [family for family in every if family.knob == knob]
    for index, (workload, rows) in enumerate(_detailed(summary)):
        for number, family in enumerate(families):
            if rows.filter(pl.col("policy").is_in(list(family.values))).is_empty():
                continue
            yield Figure(
                name=f"knob-{number}-{index}",
                kind="knobs",
                title=_named(family.title, workload, summary),
                caption=(
                    f"Change of elapsed time against `{ranked.baseline}` in % over the values of `{family.knob}`, all "
                    "other knobs equal; bars are 95 % intervals."
                ),
                words=f"Curves of the change of elapsed time over the knob {family.knob}, a panel per vCPU count.",
                draw=partial(knob_curve, rows, family=family),
            )


def time_figures(ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield where the time goes: in all, and on top of native; per workload, for the guests that stand for all."""
    for index, (workload, rows) in enumerate(_detailed(summary)):
        parts = _only_shown(breakdown(ranked, show_guests(rows)), rows)
        columns = (
            *_WHO,
            *words("part"),
            PageColumn(name="seconds", heading="s", form="{:.3f}"),
            PageColumn(name="over_native", heading="% of native", form="{:.2f}"),
        )
        yield Figure(
            name=f"parts-{index}",
            kind="time",
            title=_named("All of the elapsed time", workload, summary),
            caption="Native time is what the guest takes without a hypervisor. Parts add up to the elapsed time.",
            words=f"Stacked bars per policy: {NATIVE} time, groups of costs, waiting for the lock, in seconds.",
            draw=partial(stacked_time, parts, zoomed=False),
        )
        yield Figure(
            name=f"overhead-{index}",
            kind="overhead",
            title=_named("What shadow paging adds", workload, summary),
            caption="The same without native time, in % of it: the cost of the hypervisor alone.",
            words="Stacked bars per policy: groups of costs and waiting for the lock, in percent of native time.",
            draw=partial(stacked_time, parts, zoomed=True),
            rows=parts,
            columns=columns,
        )


def window_figures(ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield the windows over guest time, per workload, for the largest of the guests that stand for all."""
    for index, (workload, rows) in enumerate(_detailed(summary)):
        guest = show_guests(rows).tail(1)
        points = _only_shown(timeline(ranked, guest), rows)
        yield Figure(
            name=f"windows-{index}",
            kind="windows",
            title=_named(f"Over guest time, on {guest['guest'][0]}", workload, summary),
            caption=(
                "Time on top of native in each stretch of native guest time, in %, mean over replicates. Peaks that "
                f"are cut off say how high they are. Windows are put together until there are at most {BINS}."
            ),
            words="One strip per policy: time on top of native, in percent, over native guest time.",
            draw=partial(strips, points),
            rows=points,
            columns=(
                *_WHO,
                PageColumn(name="start_s", heading="from, s", form="{:.3g}"),
                PageColumn(name="native_s", heading="native, s", form="{:.3f}"),
                PageColumn(name="elapsed_s", heading="elapsed, s", form="{:.3f}"),
                PageColumn(name="over_native", heading="on top, %", form="{:.1f}"),
            ),
        )


def trade_figures(ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield time against exits and memory, per workload."""
    for index, (workload, rows) in enumerate(_detailed(summary)):
        points = _only_shown(trade_off(ranked, show_guests(rows)), rows)
        if points.is_empty():
            continue
        yield Figure(
            name=f"trade-{index}",
            kind="trade-off",
            title=_named("Elapsed time against exits", workload, summary),
            caption=(
                "Left and low is better; the size of a point is the memory that its shadow pages take at most. "
                "Policies whose points meet share a label. Yardsticks are left out, and policies under which the host "
                "dies."
            ),
            words="Scatter of elapsed time over exits, one panel per guest.",
            draw=partial(trade_off_chart, points),
            rows=points,
            columns=(
                *_WHO,
                PageColumn(name="elapsed_s", heading="elapsed, s", form="{:.2f}"),
                PageColumn(name="exits", heading="exits", form="{:,.0f}"),
                PageColumn(name="pages_peak", heading="shadow pages at most", form="{:,.0f}"),
                PageColumn(name="standing", heading="", number=False),
            ),
        )


def _detailed(summary: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    groups = summary.group_by("workload", maintain_order=True)
    for index, ((workload,), rows) in enumerate(groups):
        if index < DETAILED_WORKLOADS:
            yield str(workload), rows


def _named(title: str, workload: str, summary: pl.DataFrame) -> str:
    return f"{workload}: {title}" if summary["workload"].n_unique() > 1 else title


def _only_shown(rows: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("policy").is_in(summary["policy"].unique(maintain_order=True).implode()))


FIGURES: Final = MappingProxyType(
    {
        "grid": grid_figures,
        "size": size_figures,
        "knobs": knob_figures,
        "time": time_figures,
        "windows": window_figures,
        "trade-off": trade_figures,
    }
)
"""What belongs together -> what yields its figures from a run and the part of its summary that is shown."""
KINDS: Final = MappingProxyType(
    {
        "grid": "grid",
        "changes": "grid",
        "vcpus": "size",
        "memory": "size",
        "knobs": "knobs",
        "time": "time",
        "overhead": "time",
        "windows": "windows",
        "trade-off": "trade-off",
    }
)
"""Kind of chart, as `sweep plot` calls it -> where it is in FIGURES."""
