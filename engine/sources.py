"""Which files of the engine make results, which ones its core is compiled from, and the hashes of both.

The lists are explicit: an edit of anything else, be it the reference, a policy's file or a trace importer, leaves
finished cells finished. `tests/engine/test_sources.py` fails for a file that is in no list.
"""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

ENGINE: Final = Path(__file__).resolve().parent

CORE_SOURCES: Final = ("core/**/*.c", "core/**/*.h", "mechanisms/*/*.h")
"""What the core is compiled from, beside the headers that engine/core/ writes from declarations."""

HEADER_SOURCES: Final = (
    "checks.py",
    "core/guest/layout_guest.py",
    "core/layout.py",
    "core/mechanisms.py",
    "core/scheduler/state.py",
    "events.py",
    "fields.py",
    "guest/constants.py",
    "guest/parameters.py",
    "guest/state.py",
    "guests.py",
    "knobs.py",
    "mechanisms/*.py",
    "mechanisms/*/__init__.py",
    "operations.py",
    "vocabulary.py",
    "workloads/templates.py",
    "x86.py",
)
"""What declares the contents of those headers, and all of the engine that these files import."""

RESULT_SOURCES: Final = (
    *CORE_SOURCES,
    "checks.py",
    "core/**/*.py",
    "digest.py",
    "events.py",
    "fields.py",
    "guest/*.py",
    "guests.py",
    "knobs.py",
    "mechanisms/*.py",
    "mechanisms/*/__init__.py",
    "operations.py",
    "simulate.py",
    "vocabulary.py",
    "workloads/*.py",
    "workloads/data/*.npz",
    "x86.py",
)
"""What the answer of a batch depends on: code and data."""

NO_RESULT_SOURCES: Final = (
    "__init__.py",
    "_core.pyi",
    "mechanisms/*/plain.py",
    "py.typed",
    "reference/*.py",
    "sources.py",
)
"""The rest of the engine: it checks results, or says what the engine is. What is built is in no list."""

_DIGEST_BYTES: Final = 16
"""128 bits: among 10^9 sets of sources a collision has a chance below 10^-20."""


def source_files(patterns: Iterable[str], folder: Path = ENGINE) -> list[Path]:
    """Return the files of an engine that one of the patterns names, in the order of their names."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def core_digest(folder: Path = ENGINE) -> str:
    """Hash all that the core is compiled from: the files in C, and those that declare what C takes from Python."""
    return source_digest((*CORE_SOURCES, *HEADER_SOURCES), folder)


def source_digest(patterns: Iterable[str], folder: Path = ENGINE) -> str:
    """Hash the places and the contents of the files that one of the patterns names."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for path in source_files(patterns, folder):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
