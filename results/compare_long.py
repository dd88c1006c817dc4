"""Comparisons as a list: one line per table cell with its interval, its p-value and its verdict in words."""

from typing import Any

from results.compare import Comparison
from results.compare_dimensions import spelled
from results.compare_table import comparison_title, shown_values
from results.render import Sheet, interval, shortened, signed
from results.verdicts import Verdict

_NONE = "-"


def comparison_list(table: Comparison) -> Sheet:
    """Return the table cells that are compared, one per row; the baseline's own are left out."""
    show = shown_values(table)
    labels = table.layout.shown
    rows = tuple(
        (
            *(shortened(spelled(row[name])) for name in labels),
            show(row["value"]),
            signed(row["difference_percent"]),
            interval(row["difference_low"], row["difference_high"]),
            _probability(row["p_holm"]),
            str(row["replicates"]),
            row["verdict"],
        )
        for row in table.cells.iter_rows(named=True)
        if row["verdict"] != Verdict.BASELINE
    )
    header = (*labels, table.measure.name, "diff %", "interval", "p (Holm)", "n", "verdict")
    return Sheet(title=comparison_title(table), header=header, rows=rows, left=len(labels))


def _probability(value: Any) -> str:
    if value is None:
        return _NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
