"""Damages files in ways that chance and malice do, from a seed; and runs verbs that must answer with an error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer
from typer.testing import CliRunner

from sweep.exit_codes import ExitCode, SweepError

POISON: Final[tuple[Any, ...]] = (
    None, True, -1, 2**70, 1e308, float("nan"),
    "", "../../victim", "/etc/passwd", "a\x00b", "x" * 5_000,
    [], {}, [[]],
)  # fmt: skip
"""Values that stand where a program expects something else."""
DEEP: Final = "[" * 100_000
"""More nesting than a parser's stack holds."""


def answer(app: typer.Typer, *words: str) -> tuple[int, str]:
    """Return exit code and message of a verb; anything else than an answer is an error of the test."""
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, SweepError):
        code, text = int(done.exception.exit_code), str(done.exception)
        assert text.strip()
    elif done.exception is None or isinstance(done.exception, SystemExit):
        code, text = done.exit_code, done.output
    else:
        raise AssertionError(f"{' '.join(words)}: {done.exception!r}") from done.exception
    assert code in set(ExitCode)
    assert "Traceback" not in text
    return code, text


def bytes_damaged(content: bytes, random: np.random.Generator, count: int) -> Iterator[bytes]:
    """Yield a file cut, emptied, and with bytes changed, put in and taken out."""
    yield b""
    yield content[: len(content) // 2]
    yield content[:-1]
    for _ in range(count):
        changed = bytearray(content)
        for place in random.integers(0, len(content), size=random.integers(1, 9)):
            changed[place] = random.integers(0, 256)
        start, length = int(random.integers(0, len(content))), int(random.integers(0, 64))
        if random.integers(0, 2):
            del changed[start : start + length]
        else:
            changed[start:start] = random.bytes(length)
        yield bytes(changed)


def json_damaged(text: str, random: np.random.Generator, count: int) -> Iterator[str]:
    """Yield a JSON file that is none, and with values replaced by poison and keys taken away."""
    yield DEEP
    yield "{"
    yield from ("null", "[]", "{}", "[[]]", "1")
    for _ in range(count):
        content = json.loads(text)
        places = list(_places(content))
        holder, key = places[int(random.integers(0, len(places)))]
        if random.integers(0, 4) == 0:
            del holder[key]
        else:
            holder[key] = POISON[int(random.integers(0, len(POISON)))]
        yield json.dumps(content)


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with every key or index in it."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
