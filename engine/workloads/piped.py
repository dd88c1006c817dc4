"""Pipe process operations into the guest model: what every workload's `open` returns."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from engine.events import Events
from engine.fields import Field, checked
from engine.guest.parameters import PARAMETERS
from engine.guests import Guest
from engine.operations import Operations
from engine.workloads.contract import SourceSeconds

GUEST_PARAMETERS: Final[Mapping[str, Field]] = PARAMETERS
"""Parameters of the guest model, which each workload takes beside its own."""


class OperationSource(Protocol):
    """Layer-1 operations in time order, in chunks; a chunk is valid until the next one is asked for."""

    def chunks(self) -> Iterator[Operations]:
        """Yield arrays of dtype OPERATION."""
        ...


@dataclass(slots=True)
class PipedSource:
    """An event source: operations, carried out by a guest model."""

    operations: OperationSource
    guest: Guest
    seed: int
    window_ns: int
    guest_parameters: dict[str, Any]
    place: str
    """Where the operations are from, for errors."""
    seconds: SourceSeconds = field(default_factory=SourceSeconds)
    native_seconds: float = 0.0

    def chunks(self) -> Iterator[Events]:
        """Yield the events of the trace in order."""
        # The core loads here and not on import, so that listing workloads stays cheap.
        from engine.core.guest.model import GuestModel

        model = GuestModel(
            self.guest,
            seed=self.seed,
            window_ns=self.window_ns,
            parameters=self.guest_parameters,
            place=self.place,
        )
        yield from self._timed(model.start())
        source = self.operations.chunks()
        while True:
            began = time.perf_counter()
            operations = next(source, None)
            self.seconds.generate += time.perf_counter() - began
            if operations is None:
                break
            yield from self._timed(model.feed(operations))
        yield from self._timed(model.finish())
        self.native_seconds = model.native_seconds

    def _timed(self, events: Iterator[Events]) -> Iterator[Events]:
        while True:
            began = time.perf_counter()
            chunk = next(events, None)
            self.seconds.guest += time.perf_counter() - began
            if chunk is None:
                return
            yield chunk


def open_piped(
    operations: OperationSource,
    *,
    parameters: Mapping[str, Any],
    guest: Guest,
    seed: int,
    window_ns: int,
    place: str = "guest model",
) -> PipedSource:
    """Return the event source of some operations; of `parameters`, those of the guest model are used."""
    chosen = {name: value for name, value in parameters.items() if name in GUEST_PARAMETERS}
    return PipedSource(operations, guest, seed, window_ns, chosen, place)


def with_defaults(declared: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all declared parameters, with defaults where none is given.

    Raises:
        FieldError: an unknown name, or a value that is not allowed.
    """
    return {name: parameter.default for name, parameter in declared.items()} | checked(given, declared, what="workload")
