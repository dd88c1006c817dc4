"""What a workload is: parameters that, with a guest and a seed, give one stream of layer-2 events.

A workload may read its parameters, the guest and the seed. It must give the same events for the same three, and must
not know the policies.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.events import Events
from engine.fields import Field
from engine.guests import Guest


@dataclass(slots=True)
class SourceSeconds:
    """Where a source's time went, in seconds of wall clock."""

    generate: float = 0.0
    guest: float = 0.0


class EventSource(Protocol):
    """One trace, in chunks; a chunk is valid until the next one is asked for."""

    seconds: SourceSeconds
    native_seconds: float
    """Native guest time that the trace spans; final after the last chunk."""

    def chunks(self) -> Iterator[Events]:
        """Yield the events of the trace in order, as arrays of dtype EVENT."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A registered kind of workload."""

    name: str
    summary: str
    source: str
    parameters: dict[str, Field] = field(default_factory=dict)

    def open(self, parameters: dict[str, Any], guest: Guest, seed: int, window_ns: int) -> EventSource:
        """Return the trace of these parameters. Implementations import the core only here."""
        raise NotImplementedError
