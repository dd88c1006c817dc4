"""Identity of a cell: a hash of everything that affects its answer and of nothing else.

In it: the policy's knobs, the workload with all parameters, the guest, the seed, the window, the engine's sources and
data. Not in it: names and labels, the sweep's name, prices, the backend, the date.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Final

from engine.guests import Guest
from engine.policies.contract import Knobs
from sweep.coordinate import answering, canonical
from sweep.spec import WorkloadCase

_ENGINE: Final = Path(__file__).resolve().parent.parent / "engine"
DIGEST_BYTES: Final = 16
"""128 bits: among 10^9 cells a collision has a chance below 10^-20."""
_NOT_ANSWERS: Final = frozenset({"__pycache__", "reference"})
"""The reference checks the kernel and computes no result."""


def engine_fingerprint(folder: Path = _ENGINE) -> str:
    """Hash the sources of the engine and the data that it ships, such as process templates."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not _NOT_ANSWERS.intersection(inside.parts):
            content = path.read_bytes()
            digest.update(f"{inside.as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


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

    def seeds(self, sweep_seed: int, replicates: Sequence[int]) -> list[int]:
        """Return the seed of each trace: a function of the sweep's seed and the coordinate, never of a policy."""
        import numpy as np

        from sweep.seeds import spawned_seeds

        front = b'{"guest":%b,"parameters":%b,"replicate":' % (self._guest, self._parameters)
        back = b',"workload":%b}' % self._workload
        digests = [
            blake2b(b"%b%d%b" % (front, replicate, back), digest_size=DIGEST_BYTES).digest() for replicate in replicates
        ]
        words = np.frombuffer(b"".join(digests), "<u4").reshape(len(digests), -1)
        # 63 bits, so that every reader of the tables holds it in a signed integer.
        return [int(seed) for seed in spawned_seeds(sweep_seed, words) >> np.uint64(1)]

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
