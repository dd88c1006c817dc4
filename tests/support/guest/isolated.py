"""Play operations in a process of their own, so that a crash is a failure of one test: `digests` here, `main` there."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.guest.model import GuestModel
from engine.guests import Guest
from engine.operations import Operations
from tests.support.project import ROOT


def digest(operations: Operations, guest: Guest, parameters: dict[str, Any]) -> str:
    """Return how many events operations make and a digest of them, or the error that refuses them."""
    model = GuestModel(guest, seed=1, window_ns=10_000_000, parameters=parameters)
    hashed, events = hashlib.blake2b(digest_size=8), 0
    try:
        for chunks in (model.start(), model.feed(operations), model.finish()):
            for chunk in chunks:
                hashed.update(chunk.tobytes())
                events += len(chunk)
    except RuntimeError as error:
        return str(error)
    return f"{events} {hashed.hexdigest()}"


def digests(
    folder: Path, traces: Sequence[Operations], parameters: Sequence[dict[str, Any]], **guest: Any
) -> list[list[str]]:
    """Return digests[trace][parameters], made in another process.

    Raises:
        AssertionError: that process died.
    """
    path = folder / "traces.npz"
    np.savez(path, *traces)
    command = [sys.executable, "-m", "tests.support.guest.isolated", str(path), json.dumps([list(parameters), guest])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    found: list[list[str]] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the digests that `digests` asks for."""
    parameters, guest = json.loads(sys.argv[2])
    with np.load(sys.argv[1]) as traces:
        rows = [[digest(traces[name], Guest(**guest), knobs) for knobs in parameters] for name in traces]
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    main()
