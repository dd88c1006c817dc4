"""Identity of a cell: a hash of everything that affects its answer and of nothing else.

In it: the policy's knobs, the workload with all parameters, the guest, the seed, the window, and the sources and data
that make results. Not in it: names, labels and summaries, the sweep's name, prices, the backend, the date.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from engine.guests import Guest
from engine.knobs import Knobs
from engine.sources import ENGINE, RESULT_SOURCES, source_digest
from sweep.exit_codes import SweepError
from sweep.recordings.array_file import recording_problem
from sweep.spec.spec import WorkloadCase


def answering(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as they affect answers: of a recorded trace not its path, but the bytes in the file.

    Raises:
        SweepError: the path leads to something else than a recording.
    """
    path = parameters.get("path")
    if not isinstance(path, str) or not path:
        return dict(parameters)
    if problem := recording_problem(Path(path)):
        raise SweepError(f"workload recorded: path: {problem}")
    with Path(path).open("rb") as stream:
        content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {**parameters, "path": f"content {content}"}


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no blanks: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """One (workload, guest, replicate): one trace."""

    workload: WorkloadCase
    guest: Guest
    replicate: int


DIGEST_BYTES: Final = 16
"""128 bits: among 10^9 cells a collision has a chance below 10^-20."""
_SEED_BYTES: Final = 8


def engine_fingerprint(folder: Path = ENGINE) -> str:
    """Hash the sources and the data that make results; engine/sources.py lists them."""
    return source_digest(RESULT_SOURCES, folder)


class TraceFamily:
    """The traces of one workload on one guest, one per replicate; what they have in common is spelled once.

    Every text here is canonical JSON, put together from pieces: sweeps of a million cells are planned while the user
    waits.
    """

    def __init__(self, workload: WorkloadCase, guest: Guest) -> None:
        self._guest = canonical(asdict(guest))
        self._parameters = canonical(answering(workload.parameters))
        self._workload = canonical(workload.name)
        self._front_of = ("", b"")

    def seeds(self, sweep_seed: int, replicates: Iterable[int]) -> list[int]:
        """Return the seed of each trace: a function of what is drawn, and of nothing that meets it.

        Drawn are the recorded processes and their order. They come from the workload, the replicate and the sweep's
        seed; parameters, guest and policy say what becomes of them. Two cells that differ in one of those are paired:
        the difference between them is not that between two draws.
        """
        front, back = b'{"replicate":', b',"seed":%d,"workload":%b}' % (sweep_seed, self._workload)
        digests = (blake2b(b"%b%d%b" % (front, one, back), digest_size=_SEED_BYTES).digest() for one in replicates)
        # 63 bits, so that every reader of the tables holds it in a signed integer.
        return [int.from_bytes(digest, "little") >> 1 for digest in digests]

    def digests(self, knobs: Iterable[bytes], *, seed: int, window_ns: int, fingerprint: str) -> bytes:
        """Return the identities of the cells of the trace with this seed, one after the other.

        There is one of DIGEST_BYTES for each set of knobs, given by `knobs_key`.
        """
        front = self._front(fingerprint)
        batch = b'%b%d,"window_ns":%d,"workload":%b}' % (front, seed, window_ns, self._workload)
        shared = blake2b(batch).digest()
        return b"".join([blake2b(shared + key, digest_size=DIGEST_BYTES).digest() for key in knobs])

    def _front(self, fingerprint: str) -> bytes:
        """Return what the identities of all cells begin with; it is spelled once for each engine."""
        if self._front_of[0] != fingerprint:
            engine = canonical(fingerprint)
            text = b'{"engine":%b,"guest":%b,"parameters":%b,"seed":' % (engine, self._guest, self._parameters)
            self._front_of = (fingerprint, text)
        return self._front_of[1]


def knobs_key(knobs: Knobs) -> bytes:
    """Return a hash of all knobs."""
    return blake2b(canonical(asdict(knobs)), digest_size=DIGEST_BYTES).digest()
