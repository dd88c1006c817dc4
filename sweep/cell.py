"""Identity of a cell: a hash of everything that affects its answer and of nothing else.

In it: the policy's knobs, the workload with all parameters, the guest, the seed, the window, the engine's sources and
data. Not in it: names and labels, the sweep's name, prices, the backend, the date.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from engine.policies.contract import Knobs
from sweep.coordinate import Coordinate, answering, canonical

_ENGINE: Final = Path(__file__).resolve().parent.parent / "engine"
_DIGEST_BYTES: Final = 16
"""128 bits: among 10^9 cells a collision has a chance below 10^-20."""
_NOT_ANSWERS: Final = frozenset({"__pycache__", "reference"})
"""The reference checks the kernel and computes no result."""


def engine_fingerprint(folder: Path = _ENGINE) -> str:
    """Hash the sources of the engine and the data that it ships, such as process templates."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not _NOT_ANSWERS.intersection(inside.parts):
            content = path.read_bytes()
            digest.update(f"{inside.as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def trace_seed(sweep_seed: int, coordinate: Coordinate) -> int:
    """Return the seed of a trace: a function of the sweep's seed and the coordinate, never of a policy."""
    from numpy.random import SeedSequence

    key = hashlib.blake2b(coordinate.trace_key(), digest_size=_DIGEST_BYTES).digest()
    words = tuple(int.from_bytes(key[i : i + 4], "little") for i in range(0, len(key), 4))
    state = SeedSequence(sweep_seed, spawn_key=words).generate_state(1, "uint64")
    # 63 bits, so that every reader of the tables holds it in a signed integer.
    return int(state[0]) >> 1


def cell_ids(
    coordinate: Coordinate,
    knobs: Iterable[bytes],
    *,
    seed: int,
    window_ns: int,
    fingerprint: str,
) -> list[str]:
    """Return the ids of the cells of one trace, one for each set of knobs, given by its `knobs_key`."""
    shared = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    batch = {
        "engine": fingerprint,
        "guest": asdict(coordinate.guest),
        "parameters": answering(coordinate.workload.parameters),
        "seed": seed,
        "window_ns": window_ns,
        "workload": coordinate.workload.name,
    }
    shared.update(hashlib.blake2b(canonical(batch)).digest())
    ids = []
    for key in knobs:
        # Two short hashes instead of one long text: sweeps of a million cells are planned while the user waits.
        digest = shared.copy()
        digest.update(key)
        ids.append(digest.hexdigest())
    return ids


def knobs_key(knobs: Knobs) -> bytes:
    """Return a hash of all knobs."""
    return hashlib.blake2b(canonical(asdict(knobs)), digest_size=_DIGEST_BYTES).digest()
