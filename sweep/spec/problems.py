"""What is wrong with a specification and how it is shown: place, line, caret, allowed values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.spelling import nearest
from sweep.exit_codes import SweepError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A text that a specification was read from: a file, or one `-s` argument."""

    name: str
    text: str
    is_argument: bool = False
    """One word of the command line: it has columns, but a line number would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A stretch of one line of a source; line and column count from 0, line -1 is the source as a whole."""

    source: Source
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        """Return `name:line:column`, counted from 1 as editors do."""
        if self.line < 0 or self.source.is_argument:
            return self.source.name
        return f"{self.source.name}:{self.line + 1}:{self.column + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what would be right."""

    place: Place
    message: str
    notes: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the message with its line, a caret under the place, and the notes."""
        out = [f"{self.place}: {self.message}"]
        lines = self.place.source.text.splitlines()
        if 0 <= self.place.line < len(lines):
            number = "" if self.place.source.is_argument else str(self.place.line + 1)
            text = lines[self.place.line].replace("\t", " ")
            room = max(1, len(text) - self.place.column)
            caret = " " * self.place.column + "^" * min(self.place.width, room)
            out += [f"  {number} | {text.rstrip()}", f"  {' ' * len(number)} | {caret}"]
        return "\n".join(out + [f"  {note}" for note in self.notes])


class Problems(list[Problem]):
    """What was found so far: who reads a specification adds to it and goes on, so that all is said at once."""

    def note(self, place: Place, message: str, *notes: str) -> None:
        """Add one problem."""
        self.append(Problem(place=place, message=message, notes=notes))


class SpecError(SweepError):
    """A specification is wrong; holds every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.place.source.name, p.place.line, p.place.column)))
        super().__init__("\n".join(problem.render() for problem in self.problems))


def suggest(word: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Return the notes for an unknown word: the nearest allowed one, and all of them."""
    words = list(allowed)
    return (*near_words(word, words), f"allowed: {', '.join(words)}" if words else "nothing is allowed here")


def near_words(word: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return a note with the allowed word that is nearest to a wrong one, if one is near."""
    near = nearest(word, allowed)
    return () if near is None else (f"did you mean '{near}'?",)
