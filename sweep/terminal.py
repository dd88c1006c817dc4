"""What is printed may come from a stranger's run or log: signs that control a terminal are shown, not sent."""

import re
import sys
from typing import Any, Final, TextIO

_CONTROL: Final = re.compile(
    r"(?P<colour>\x1b\[(?:[0-79]|[0-9;]{2,})?m)"
    r"|(?P<end>\r+\n)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tabs and ends of lines, signs that turn the direction of writing, and halves of pairs,
which no stream takes. Colours pass: Ray's lines have them, and they move nothing."""


def printable(text: str) -> str:
    """Return `text` with every sign that would control a terminal written out as Python would."""
    return _CONTROL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    if found["colour"]:
        return found[0]
    return "\n" if found["end"] else found[0].encode("unicode_escape").decode("ascii")


class GuardedStream:
    """A stream of text that writes what is printable and is the stream in all else."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write the text as `printable` gives it."""
        self.unguarded.write(printable(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return what the stream has."""
        return getattr(self.unguarded, name)


def guard_output() -> None:
    """Guard standard output and error of this process: whatever verb prints, and errors too."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream behind a guard, for bars and tables that move the cursor themselves."""
    return stream.unguarded if isinstance(stream, GuardedStream) else stream


def _guarded(stream: TextIO | None) -> Any:
    # A closed descriptor leaves no stream.
    return None if stream is None else GuardedStream(stream)
