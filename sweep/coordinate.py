"""What the policies of a batch have in common: workload, guest and replicate, in one canonical spelling."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from engine.guests import Guest
from sweep.spec import WorkloadCase


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no blanks: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """One (workload, guest, replicate): one trace."""

    workload: WorkloadCase
    guest: Guest
    replicate: int

    def trace_key(self) -> bytes:
        """Return what the seed depends on; labels are not in it, for they change no answer."""
        return canonical(
            {
                "guest": asdict(self.guest),
                "parameters": self.workload.parameters,
                "replicate": self.replicate,
                "workload": self.workload.name,
            },
        )
