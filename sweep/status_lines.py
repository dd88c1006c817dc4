"""A look at a run as text."""

from collections.abc import Iterator
from typing import Final

from sweep.progress import counted, format_bytes, format_seconds
from sweep.status import RunStatus, age

_VALUES_SHOWN: Final = 16
"""Values of an axis that are listed; --json has all."""
_BAR: Final = 24


def status_lines(status: RunStatus) -> Iterator[str]:
    """Yield the lines of one run."""
    yield f"run       {status.run}" + (f" (sweep {status.sweep})" if status.sweep else "")
    yield f"state     {_state(status)}"
    total = status.cells_total
    if total is None:
        yield f"cells     {status.cells_done} done; the plan was not kept, so their total is unknown"
    else:
        share = status.cells_done / total if total else 1.0
        bar = "#" * round(share * _BAR)
        yield f"cells     {status.cells_done:,} of {total:,}  [{bar:<{_BAR}}] {100.0 * share:.1f} %"
    if status.cells_per_second:
        left = status.seconds_left
        about = "" if left is None or status.is_complete else f"; about {format_seconds(left)} left"
        yield f"rate      {status.cells_per_second:.3g} cells/s of the last driver{about}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in status.failures.items())
    failed = sum(status.failures.values())
    yield f"failures  {counted(failed, 'cell', 'cells')}: {kinds}" if failed else "failures  none"
    yield f"tables    {counted(status.parts, 'file', 'files')}, {format_bytes(status.bytes)}"
    for axis, values in status.axes.items():
        yield from _axis_lines(axis, values)


def status_row(status: RunStatus) -> str:
    """Return one line about a run, for a list of runs."""
    total = "?" if status.cells_total is None else f"{status.cells_total:,}"
    failed = sum(status.failures.values())
    return f"{status.run:<32}  {status.cells_done:>9,} of {total:>9}  {failed:>6} failed  {_state(status)}"


def _axis_lines(axis: str, values: dict[str, tuple[int, int]]) -> Iterator[str]:
    if len(values) < 2:
        return
    # What is not finished is what one wants to see.
    shown = sorted(values.items(), key=lambda one: one[1][0] >= one[1][1])[:_VALUES_SHOWN]
    width = max(len(value) for value, _ in shown)
    for value, (done, total) in shown:
        yield f"{axis:<9} {value:<{width}}  {done:>7,} of {total:,}"
    if len(values) > len(shown):
        yield f"{axis:<9} and {len(values) - len(shown)} more: --json has all"


def _state(status: RunStatus) -> str:
    seen = "no commit yet" if status.last_commit is None else f"last commit {_ago(status.last_commit)}"
    if status.is_complete:
        return f"complete; {seen}"
    if status.started is None:
        return f"never started; {seen}"
    if status.ended is not None:
        return f"not complete, and the last driver ended {_ago(status.ended)}; the same command goes on"
    if status.abandoned:
        return (
            f"not complete, and the driver that began {_ago(status.started)} is gone without a word; {seen}; "
            "the same command goes on"
        )
    # From here nobody can tell a driver that works from one that was killed, but for what it leaves.
    return f"under way since {_ago(status.started)} on {status.host or 'an unknown host'}; {seen}"


def _ago(seconds: float) -> str:
    return f"{format_seconds(round(age(seconds)))} ago"
