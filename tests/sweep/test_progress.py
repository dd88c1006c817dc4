"""What a user sees while a sweep runs."""

import io

import pytest

from sweep.progress import PlainProgress, format_bytes, format_seconds, show_progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def test_logs_get_plain_lines() -> None:
    """Away from a terminal there is a line per period and one at the end, with count, rate and time left."""
    stream = io.StringIO()

    with show_progress(4, stream) as progress:
        progress.advance(2, 0.5)
        progress.note("failed: something")
        progress.advance(2, 0.5)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "failed: something"
    assert len(lines) == 2
    assert lines[1].startswith("4/4 cells, ")
    assert lines[1].endswith(" cells/s, 0 s left")


def test_each_period_gives_a_line() -> None:
    """A line comes whenever the period is over, even if no cell has ended since."""
    stream = io.StringIO()
    progress = PlainProgress(4, stream, period=0.0)

    progress.advance(0, 0.0)
    progress.advance(1, 0.25)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "0/4 cells, 0 cells/s, unknown time left"
    assert lines[1].startswith("1/4 cells, ")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_terminals_get_a_bar(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a bar with the count; with NO_COLOR it has no colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()

    with show_progress(2, stream) as progress:
        progress.advance(1, 0.5)
        progress.note("a line that stays")
        progress.advance(1, 0.5)

    text = stream.getvalue()
    assert "2/2 cells" in text
    assert "a line that stays" in text
    assert ("\x1b[38;5;" in text or "\x1b[3" in text) is (no_color == "")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0123, "0.0123 s"), (59.0, "59 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min"), (float("nan"), "unknown time")],
)
def test_seconds_in_words(seconds: float, expected: str) -> None:
    """Times are shown in the units that matter."""
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize(("count", "expected"), [(5, "5 B"), (2048, "2 KiB"), (3 << 30, "3 GiB"), (5 << 40, "5 TiB")])
def test_bytes_in_words(count: float, expected: str) -> None:
    """Sizes are shown in binary units."""
    assert format_bytes(count) == expected
