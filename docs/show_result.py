"""Put the table and the picture of a run between the marks in README.md, so that they are never copied by hand.

Usage: python docs/show_result.py runs/kernbench
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from results.charts.change import changes
from results.charts.export import chart_bytes, paper_spec
from results.charts.theme import LAYOUTS
from results.statistics.verdicts import Verdict
from sweep.commands.common import open_view
from sweep.runs import open_store

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURE: Final = "docs/result.svg"
MARKS: Final = re.compile(r"(<!-- result:begin[^\n]*-->\n).*?(<!-- result:end -->)", flags=re.DOTALL)
TABLE_MEMORY_MIB: Final = 1024
"""Size of the guests in the table; all sizes are in the run."""


def interval(row: dict[str, Any], mean: str, low: str, high: str) -> str:
    """Show a mean with its interval, if there is one."""
    if row[mean] is None:
        return "–"
    text = f"{row[mean]:+.2f} %"
    return text if row[low] is None else f"{text} ({row[low]:+.2f} to {row[high]:+.2f})"


def shown_guests(summary: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the guests that the table shows: one size of memory, fewest and most vCPUs."""
    sized = summary.filter(pl.col("memory_mib") == TABLE_MEMORY_MIB)
    sized = sized if sized.height else summary
    return sized.filter(pl.col("vcpus").is_in([sized["vcpus"].min(), sized["vcpus"].max()]))


def table(summary: pl.DataFrame) -> list[str]:
    """Return the Markdown lines of one table per shown guest."""
    lines = []
    for (workload, guest), rows in shown_guests(summary).group_by("workload", "guest", maintain_order=True):
        lines += [f"**{workload} on {guest}**", ""]
        lines += [
            "| policy | elapsed | to baseline, 95 % interval | exits | emulated | flooded | zapped | lock waiting |"
        ]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|"]
        for row in rows.iter_rows(named=True):
            if row["verdict"] == Verdict.DIES:
                lines.append(f"| `{row['policy']}` | dies | – | – | – | – | – | – |")
                continue
            change = interval(row, "difference_percent", "difference_low", "difference_high")
            counts = " | ".join(
                f"{row[c]:,.0f}" for c in ("exits", "insn_emulation", "mmu_flooded", "mmu_shadow_zapped")
            )
            lines.append(
                f"| `{row['policy']}` | {row['elapsed_s']:.1f} s | {change} | {counts} | {row['lock_wait_s']:.2f} s |",
            )
        lines.append("")
    return lines


def published(comparison: pl.DataFrame) -> list[str]:
    """Return the Markdown lines of predictions beside published figures."""
    lines = [
        "| predicted and published | predicted | 95 % interval | published | its interval |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in shown_guests(comparison).iter_rows(named=True):
        low, high = row["predicted_low"], row["predicted_high"]
        span = "–" if low is None else f"{low:.2f} to {high:.2f}"
        lines.append(
            f"| {row['comparison']}, {row['guest']} | {row['predicted']:.2f} {row['unit']} | {span} "
            f"| {row['published']:.2f} {row['unit']} | {row['published_low']:.2f} to {row['published_high']:.2f} |",
        )
    return [*lines, ""]


def section(run: Path) -> tuple[str, dict[str, Any]]:
    """Return what stands between the marks, and the picture as Vega-Lite."""
    store = open_store(run)
    view = open_view(store, costs=None, baseline=None)
    resolved, summary, comparison = store.spec(), view.summary, view.published()
    in_order = summary.sort("workload", "vcpus", "memory_mib", pl.col("policy").cast(pl.Enum(view.run.policies)))
    started = store.provenance()[-1]
    lines = [
        f"![Change of elapsed time per policy and guest]({PICTURE})",
        "",
        *table(in_order),
        *([] if comparison is None else published(comparison)),
        f"From `{started['command']}` with {resolved['replicates']} replicates, prices of `{resolved['costs']}`,",
        f"engine `{started['code_fingerprint'][:12]}`. Written by `make result`; why it is what it is:",
        "[limits](docs/explanation/limits.md).",
        "",
    ]
    layout = LAYOUTS["page"]
    return "\n".join(lines), paper_spec(changes(summary, layout, view.baseline), layout)


def main(arguments: Sequence[str]) -> int:
    """Write the picture and README.md."""
    if len(arguments) != 1:
        print("usage: python docs/show_result.py RUN", file=sys.stderr)
        return 2
    text, chart = section(Path(arguments[0]))
    (ROOT / PICTURE).write_bytes(chart_bytes(chart, "svg"))
    readme = ROOT / "README.md"
    content, found = MARKS.subn(lambda match: match[1] + text + match[2], readme.read_text(encoding="utf-8"))
    if found != 1:
        print("README.md: expected the marks result:begin and result:end once. Put them back.", file=sys.stderr)
        return 1
    readme.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
