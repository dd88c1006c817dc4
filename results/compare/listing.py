"""Comparisons as a list: one line per table cell with its interval, its p-value and its verdict in words."""

from results.compare.compare import Comparison
from results.compare.dimensions import spelled
from results.compare.table import comparison_title, shown_values
from results.render import Sheet, interval, probability, shortened, signed
from results.statistics.verdicts import Verdict


def comparison_list(table: Comparison) -> Sheet:
    """Return the table cells that are compared, one per row; the baseline's own are left out."""
    show = shown_values(table)
    labels = table.layout.shown
    rows = tuple(
        (
            *(shortened(spelled(row[name])) for name in labels),
            str(Verdict.DIES) if row["verdict"] == Verdict.DIES else show(row["value"]),
            signed(row["difference_percent"]),
            interval(row["difference_low"], row["difference_high"]),
            probability(row["p_holm"]),
            str(row["replicates"]),
            row["verdict"],
        )
        for row in table.cells.iter_rows(named=True)
        if row["verdict"] != Verdict.BASELINE
    )
    header = (*labels, table.measure.name, "diff %", "interval", "p (Holm)", "n", "verdict")
    return Sheet(title=comparison_title(table), header=header, rows=rows, left=len(labels))
