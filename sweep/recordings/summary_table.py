"""Prints the summary of a trace as tables."""

from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.recordings.summary import TraceSummary
from sweep.terminal import printable

_WIDTH_MIN: Final = 120
"""Columns of text that the tables need; a narrower terminal wraps lines rather than losing figures."""
_COUNTS: Final = {
    "user_faults": "user\nfaults",
    "kernel_faults": "kernel\nfaults",
    "write_faults": "write\nfaults",
    "forks": "forks",
    "vforks": "vforks",
    "threads": "threads",
    "execs": "execs",
    "switches_in": "switch\nins",
}


def print_summary(summary: TraceSummary, source: dict[str, Any]) -> None:
    """Print the totals and one row per command name to standard output."""
    console = Console()
    if console.width < _WIDTH_MIN:
        console = Console(width=_WIDTH_MIN)
    console.print(_totals(summary, source))
    console.print(_per_command(summary))


def _totals(summary: TraceSummary, source: dict[str, Any]) -> Table:
    """Make the table of what the whole trace holds."""
    table = Table(
        show_header=False, box=SIMPLE_HEAD, title=escape(printable(str(source.get("name", "")))), title_justify="left"
    )
    table.add_row("operations", f"{summary.operations:,}")
    table.add_row("span", f"{summary.span_s:,.3f} s on {summary.vcpus} CPUs, {summary.on_cpu_s:,.3f} s of them busy")
    table.add_row("processes", f"{summary.processes:,}")
    for name, count in summary.totals.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    return table


def _per_command(summary: TraceSummary) -> Table:
    """Make the table with one row per command name."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title="per command name", title_justify="left")
    table.add_column("command", no_wrap=True)
    for header in ("tasks", *_COUNTS.values(), "first\ns", "last\ns", "on CPU\ns"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in summary.commands:
        counts = [f"{row.counts[name]:,}" for name in _COUNTS]
        times = [f"{value:,.3f}" for value in (row.first_s, row.last_s, row.on_cpu_s)]
        table.add_row(escape(printable(row.command)), f"{row.tasks:,}", *counts, *times)
    return table
