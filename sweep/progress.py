"""Shows how a sweep gets on: a bar on a terminal, one plain line every ten seconds elsewhere. Always on stderr."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TextIO

_PLAIN_SECONDS: Final = 10.0


class Progress(Protocol):
    """What the driver tells of its progress."""

    def advance(self, cells: int, share: float) -> None:
        """Say that `cells` more are done, and which share of the estimated work that was."""
        ...

    def note(self, text: str) -> None:
        """Show a line that stays."""
        ...


class PlainProgress:
    """Lines for logs. `share` weighs batches by their estimated cost, so that the end comes when it says."""

    def __init__(self, total: int, stream: TextIO, *, period: float = _PLAIN_SECONDS) -> None:
        self._total = total
        self._stream = stream
        self._period = period
        self._started = time.monotonic()
        self._shown = self._started
        self._cells = 0
        self._share = 0.0

    def advance(self, cells: int, share: float) -> None:
        """Count, and print a line if the last one is long enough ago or if this was the last cell."""
        self._cells += cells
        self._share = min(1.0, self._share + share) if self._cells < self._total else 1.0
        now = time.monotonic()
        if now - self._shown >= self._period or self._cells == self._total:
            self._shown = now
            print(self._line(now - self._started), file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print `text`."""
        print(text, file=self._stream, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self._cells / seconds if seconds > 0 else 0.0
        left = seconds / self._share * max(0.0, 1.0 - self._share) if self._share > 0 else float("nan")
        return f"{self._cells}/{self._total} cells, {rate:.2g} cells/s, {format_seconds(left)} left"


class RichProgress:
    """A bar with rate and time left."""

    def __init__(self, total: int, bar: "object") -> None:
        from rich.progress import Progress as Bar

        assert isinstance(bar, Bar)
        self._bar = bar
        self._total = total
        self._cells = 0
        self._share = 0.0
        self._started = time.monotonic()
        self._task = bar.add_task("cells", total=1.0, cells="", rate="", left="")
        self.advance(0, 0.0)

    def advance(self, cells: int, share: float) -> None:
        """Move the bar."""
        self._cells += cells
        self._share = min(1.0, self._share + share) if self._cells < self._total else 1.0
        seconds = time.monotonic() - self._started
        left = seconds / self._share * (1.0 - self._share) if self._share else float("nan")
        self._bar.update(
            self._task,
            completed=self._share,
            cells=f"{self._cells}/{self._total} cells",
            rate=f"{self._cells / seconds:.2g} cells/s" if self._cells else "",
            left=f"{format_seconds(left)} left" if self._cells else "",
        )

    def note(self, text: str) -> None:
        """Print `text` above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)


@contextmanager
def show_progress(total: int, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show progress on `stream` (stderr) for as long as the context is open."""
    stream = stream or sys.stderr
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield PlainProgress(total, stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(file=stream, no_color=bool(os.environ.get("NO_COLOR")))
    words = [TextColumn("{task.fields[" + name + "]}") for name in ("cells", "rate", "left")]
    with Bar(BarColumn(), TaskProgressColumn(), *words, console=console, transient=True) as bar:
        yield RichProgress(total, bar)


def format_seconds(seconds: float) -> str:
    """Return a length of time in the two largest units that matter."""
    if seconds != seconds:  # noqa: PLR0124  NaN: nothing is known yet.
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, one: str, many: str) -> str:
    """Return a number of things with their name."""
    return f"{count:,} {one if count == 1 else many}"


def format_bytes(count: float) -> str:
    """Return a size in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
