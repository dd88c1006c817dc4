"""The guest model: a small Linux mm that turns process operations into page-table events.

It keeps real tables in real frame numbers, so that freed table frames come back as tables or as data in the order in
which Linux would hand them out. docs/explanation/guest-model.md says what is modelled and what is not.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from engine.core.extension import core
from engine.core.guest.layout_guest import Status
from engine.events import Events
from engine.guest.parameters import resolve
from engine.guest.state import State, allocate_state, check_guest
from engine.guests import Guest
from engine.operations import OPERATION, OperationChecks, Operations, name_operation

_NS_PER_S: Final = 1_000_000_000
_NO_OPERATIONS: Final = np.zeros(0, OPERATION)


class GuestModel:
    """One guest, from power-on to the last operation. A chunk that it yields is valid until the next one is asked for.

    Raises:
        ValueError: a guest or a parameter that cannot be.
    """

    def __init__(
        self, guest: Guest, *, seed: int, window_ns: int, parameters: Mapping[str, Any], place: str = "guest model"
    ) -> None:
        """Power the guest on. `place` says where the operations are from, for errors."""
        check_guest(guest)
        if window_ns <= 0:
            raise ValueError(f"guest model: window_ns = {window_ns}; allowed is a whole number from 1")
        self._guest = guest
        self._knobs = resolve(parameters)
        self._state = allocate_state(guest, seed=seed, window_ns=window_ns, knobs=self._knobs)
        self._spill = core.new_spill()
        self._checks = OperationChecks(place=place, vcpus=guest.vcpus, window_ns=window_ns)

    @property
    def state(self) -> State:
        """The arrays of the guest, for tests and for curious readers."""
        return self._state

    @property
    def native_seconds(self) -> float:
        """Native guest time of the trace so far, in seconds."""
        return int(self._state.globals["now"][0]) / _NS_PER_S

    @property
    def busy_seconds(self) -> float:
        """Native run time so far, summed over vCPUs, in seconds."""
        return int(self._state.globals["busy_ns"][0]) / _NS_PER_S

    @property
    def reclaimed_pages(self) -> int:
        """Private pages taken away because memory ran short; above 0, the guest is too small for its workload."""
        return int(self._state.globals["swapped"][0])

    def start(self) -> Iterator[Events]:
        """Yield the kernel's tables as they stand at power-on.

        Raises:
            RuntimeError: the kernel's tables do not fit into the guest.
        """
        if core.guest_power_on(self._state, self._spill) != Status.DONE:
            memory = self._guest.memory_mib
            raise RuntimeError(
                f"guest model: the kernel's own tables for {memory} MiB do not fit into its share:"
                " raise kernel_share_percent",
            )
        yield from self._rest()

    def feed(self, operations: Operations) -> Iterator[Events]:
        """Carry out operations and yield chunks as they fill.

        Raises:
            ValueError: an operation that no recording of this guest can hold, before any of them is carried out.
            RuntimeError: an operation that this guest cannot carry out; it names the operation and the remedy.
        """
        operations = np.ascontiguousarray(operations)
        first = self._checks.passed
        self._checks.check(operations)
        position = 0
        while position < len(operations):
            status, position = core.guest_run(self._state, self._spill, operations, position)
            if status == Status.BUFFER_FULL:
                yield self._take()
            elif status != Status.DONE:
                raise RuntimeError(self._complaint(status, operations[position], first + position))

    def finish(self) -> Iterator[Events]:
        """Yield what is left."""
        core.guest_finish(self._state, self._spill)
        yield from self._rest()

    def _rest(self) -> Iterator[Events]:
        """Yield the events in the buffer and those that wait for room in it."""
        while int(self._state.globals["count"][0]):
            yield self._take()
            core.guest_run(self._state, self._spill, _NO_OPERATIONS, 0)

    def _take(self) -> Events:
        """Hand out the events in the buffer and start it again."""
        count = int(self._state.globals["count"][0])
        self._state.globals["count"] = 0
        return self._state.out[:count]

    def _complaint(self, status: int, operation: Any, position: int) -> str:
        """Say which operation failed, why, and what to do."""
        what = f"{self._checks.place}: {name_operation(operation, position)}"
        if status == Status.NO_MEMORY:
            memory = self._guest.memory_mib
            return f"{what}: no free frame in {memory} MiB: give the guest more memory_mib or less page_cache_share"
        if status == Status.NO_HOST_MEMORY:
            return f"{what}: this host has no memory left for its events: give it more"
        if status == Status.BAD_OPERATION:
            return f"{what}: it was changed after it was looked at: report it with this trace, please"
        limit = self._knobs["max_processes"]
        return f"{what}: more than max_processes = {limit} processes live at once: raise that parameter"
