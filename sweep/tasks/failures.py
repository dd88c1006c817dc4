"""What is kept of a failure: a name for its cause, which failures that look alike share, and texts without secrets."""

import hashlib
import json
import os
import re
import shlex
import stat
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, quote_plus

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_OURS: Final = frozenset({"engine", "results", "sweep", "tests"})
_FRAMES: Final = 3
"""Innermost frames of our code that tell causes apart; more would tell callers apart."""
_DIGEST_BYTES: Final = 6
"""48 bits: a thousand different causes collide with a chance of 2e-9."""
_STDERR_CHARACTERS: Final = 4096
"""How much of a worker's stderr is kept: the last lines."""
_VARIABLE: Final = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{12,}\b|(?:/[\w.~-]+)+|\d+(?:\.\d+)?", re.IGNORECASE)
"""What differs between two failures of one cause: addresses, hashes, paths, numbers."""
_SECRET_NAME: Final = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|PASS(?:_|$)|_PWD(?:_|$)|(?:^|_)PAT(?:_|$)|CREDENTIAL|COOKIE|KEY(?:_|ID|S?$)|SIGNATURE"
    r"|CONN(?:ECTION)?_?STR|(?:^|_)(?:AUTH|AUTHORIZATION|SAS|DSN|PW)(?:_|$)",
    re.IGNORECASE,
)
"""What names of variables that hold secrets have in them."""
_SECRET_MIN: Final = 8
"""Values shorter than this are words such as `true`, whose removal would only make texts unreadable."""
_USERINFO: Final = re.compile(r"""(\w[\w+.-]*://)(?:[^/@\s"]*@|[^/@\s":]*:[^@\s"]*@)+""")
"""A user before a host. With a colon in it a slash does not end it: passwords hold slashes."""
_SIGNED: Final = re.compile(
    r"""([?&][\w.%-]*(?:signature|token|secret|credential|password|key|keyid|sig|auth)=)[^&\s"'<>#,]+""", re.IGNORECASE
)
"""What proves a right in the query of an address, as `X-Amz-Signature` and `sig` do."""
_WINDOW_BYTES: Final = 1 << 20
"""How far before the kept end a stderr is read, so that a secret which crosses the cut is seen whole: Linux allows
128 KiB in a variable (MAX_ARG_STRLEN), and JSON writes a byte as up to 6."""


def cause_of(error: str, message: str, frames: Iterable[str] = ()) -> str:
    """Return a hash of an error's type, its message without numbers and paths, and the frames in which it arose."""
    text = "\n".join([error, _VARIABLE.sub("#", message), *frames])
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def innermost_frames(error: BaseException) -> list[str]:
    """Return the innermost frames of our own code as file and function; lines move when sources are edited."""
    ours = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _OURS:
            ours.append(f"{path.relative_to(_ROOT).as_posix()}:{frame.name}")
    return ours[-_FRAMES:]


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return `text` without values of secret variables, however written, users in addresses, and signatures."""
    names: dict[str, str] = {}
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _SECRET_MIN and _SECRET_NAME.search(name):
            names |= dict.fromkeys(_spellings(value), name)
    if names:
        # The longest first: one secret may begin another.
        spellings = "|".join(re.escape(one) for one in sorted(names, key=len, reverse=True))
        text = re.sub(spellings, lambda found: f"<{names[found[0]]}>", text)
    return _SIGNED.sub(r"\1<removed>", _USERINFO.sub(r"\1", text))


def _spellings(value: str) -> set[str]:
    """Return a value as it is and as addresses, JSON, Python and shells write it."""
    encoded = {quote(value), quote(value, safe=""), quote_plus(value)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), text) for text in encoded}
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    spellings = {value, value.strip(), shlex.quote(value).strip("'"), *encoded, *lower, *escaped}
    return {text for text in spellings if len(text) >= _SECRET_MIN}


class StderrMark:
    """Remembers how long this process' stderr is, if it is a file, to return later what came after."""

    def __init__(self) -> None:
        self._start = _stderr_size()

    def tail(self) -> str:
        """Return the last lines that were written since."""
        sys.stderr.flush()
        end = _stderr_size()
        if end <= self._start:
            return ""
        with Path("/proc/self/fd/2").open("rb") as stream:
            return last_lines(stream, start=self._start)


def last_lines(stream: BinaryIO, *, start: int = 0) -> str:
    """Return the end of a file of stderr, from `start` on, as text without secrets."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(start, end - _WINDOW_BYTES))
    # Secrets are taken out before the cut, or the end of one that crosses it would stay.
    return without_secrets(stream.read().decode("utf-8", errors="replace"))[-_STDERR_CHARACTERS:].strip()


def _stderr_size() -> int:
    """Return the size of the file behind stderr; 0 if it is a terminal or a pipe, which no one can read back."""
    try:
        status = os.fstat(2)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and Path("/proc/self/fd/2").exists() else 0
