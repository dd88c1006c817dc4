"""What the policies of a batch have in common: workload, guest and replicate, in one canonical spelling."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.guests import Guest
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
