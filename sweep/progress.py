"""Shows how a sweep gets on: a bar on a terminal, one plain line every ten seconds elsewhere. Always on stderr."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from sweep.terminal import printable, unguarded

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_PLAIN_SECONDS: Final = 10.0


class Progress(Protocol):
    """What the driver tells of its progress."""

    def advance(self, cells: int, share: float) -> None:
        """Say that `cells` more are done, and which share of the estimated work that was."""
        ...

    def note(self, text: str) -> None:
        """Show a line that stays."""
        ...


class _Pace:
    """Counts cells. `share` weighs batches by their estimated cost, so that the end comes when it says."""

    def __init__(self, total: int) -> None:
        self.started = time.monotonic()
        self.share = 0.0
        self._total = total
        self._cells = 0

    def count(self, cells: int, share: float) -> tuple[str, str, str]:
        """Add what is done and return how many cells are, their rate and the time that is left."""
        self._cells += cells
        self.share = min(1.0, self.share + share) if self._cells < self._total else 1.0
        seconds = time.monotonic() - self.started
        rate = self._cells / seconds if seconds > 0 else 0.0
        left = seconds / self.share * (1.0 - self.share) if self.share > 0 else float("nan")
        return f"{self._cells}/{self._total} cells", f"{rate:.2g} cells/s", f"{format_seconds(left)} left"

    @property
    def is_done(self) -> bool:
        """Whether this was the last cell."""
        return self._cells == self._total


class PlainProgress:
    """Lines for logs."""

    def __init__(self, total: int, stream: TextIO, *, period: float = _PLAIN_SECONDS) -> None:
        self._pace = _Pace(total)
        self._stream = stream
        self._period = period
        self._shown = self._pace.started

    def advance(self, cells: int, share: float) -> None:
        """Count, and print a line if the last one is long enough ago or if this was the last cell."""
        words = self._pace.count(cells, share)
        now = time.monotonic()
        if now - self._shown >= self._period or self._pace.is_done:
            self._shown = now
            self.note(", ".join(words))

    def note(self, text: str) -> None:
        """Print `text`."""
        print(text, file=self._stream, flush=True)


class RichProgress:
    """A bar with rate and time left."""

    def __init__(self, total: int, bar: "Bar") -> None:
        self._bar = bar
        self._pace = _Pace(total)
        self._task = bar.add_task("cells", total=1.0, cells="", rate="", left="")
        self.advance(0, 0.0)

    def advance(self, cells: int, share: float) -> None:
        """Move the bar."""
        done, rate, left = self._pace.count(cells, share)
        if not self._pace.share:
            rate = left = ""
        self._bar.update(self._task, completed=self._pace.share, cells=done, rate=rate, left=left)

    def note(self, text: str) -> None:
        """Print `text` above the bar."""
        self._bar.console.print(printable(text), markup=False, highlight=False)


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

    console = Console(file=unguarded(stream), no_color=bool(os.environ.get("NO_COLOR")))
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


def format_bytes(count: float) -> str:
    """Return a size in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
