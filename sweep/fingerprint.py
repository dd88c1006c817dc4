"""Names for causes: failures that look alike get the same short hash; secrets are taken out of what is kept of them."""

import hashlib
import os
import re
import stat
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
_OURS: Final = frozenset({"engine", "results", "sweep", "tests"})
_FRAMES: Final = 3
"""Innermost frames of our code that tell causes apart; more would tell callers apart."""
_DIGEST_BYTES: Final = 6
"""48 bits: a thousand different causes collide with a chance of 2e-9."""
_STDERR_BYTES: Final = 4096
"""How much of a worker's stderr is kept: the last lines."""
_VARIABLE: Final = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{12,}\b|(?:/[\w.~-]+)+|\d+(?:\.\d+)?", re.IGNORECASE)
"""What differs between two failures of one cause: addresses, hashes, paths, numbers."""
_SECRET_NAME: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(?:^|_)KEY(?:_|$)|SIGNATURE", re.IGNORECASE)
_SECRET_MIN: Final = 8
"""Values shorter than this are words such as `true`, whose removal would only make texts unreadable."""
_USERINFO: Final = re.compile(r"(\w+://)[^/@\s]+@")


def fingerprint(error: str, message: str, frames: Iterable[str] = ()) -> str:
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
    """Return `text` without the values of environment variables that are secrets, and without users in addresses."""
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _SECRET_MIN and _SECRET_NAME.search(name):
            text = text.replace(value, f"<{name}>")
    return _USERINFO.sub(r"\1", text)


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
            stream.seek(max(self._start, end - _STDERR_BYTES))
            return last_lines(stream.read())


def last_lines(content: bytes) -> str:
    """Return the end of a stderr as text."""
    return content[-_STDERR_BYTES:].decode("utf-8", errors="replace").strip()


def _stderr_size() -> int:
    """Return the size of the file behind stderr; 0 if it is a terminal or a pipe, which no one can read back."""
    try:
        status = os.fstat(2)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and Path("/proc/self/fd/2").exists() else 0
