"""The core takes only arrays that fit each other, whatever Python hands to it."""

from typing import Any

import numpy as np
import pytest

from engine.core.extension import core
from engine.core.guest.layout_guest import Status
from engine.core.guest.model import GuestModel
from engine.guest.state import State
from engine.guests import Guest
from engine.operations import OPERATION
from engine.vocabulary import Operation
from tests.support.guest.scripts import CHILD, DATA, FORK, SHELL, process_with_pages

NO_OPERATIONS = np.zeros(0, OPERATION)


def powered_on(**parameters: Any) -> GuestModel:
    """Return a small guest whose kernel has its tables."""
    model = GuestModel(Guest(vcpus=1, memory_mib=128), seed=1, window_ns=10_000_000, parameters=parameters)
    list(model.start())
    return model


def run(state: Any, operations: Any = NO_OPERATIONS, position: int = 0) -> tuple[int, int]:
    """Call the core as the model does."""
    return core.guest_run(state, core.new_spill(), operations, position)


@pytest.mark.parametrize("name", [name for name in State._fields if name not in {"out", "gather", "fills"}])
def test_an_array_that_does_not_fit_is_refused(name: str) -> None:
    """An array of another size than the guest needs is named, and nothing is carried out."""
    state = powered_on().state
    array = getattr(state, name)
    longer = np.concatenate([array, array, array])

    with pytest.raises(ValueError, match=r"guest model: .*(holds|=) "):
        run(state._replace(**{name: longer}))


@pytest.mark.parametrize("name", State._fields)
def test_an_array_that_may_not_be_written_is_refused(name: str) -> None:
    """An array that is read-only is named."""
    state = powered_on().state
    locked = getattr(state, name).copy()
    locked.flags.writeable = False

    with pytest.raises(ValueError, match=f"^(guest model: )?{'world' if name == 'globals' else name}: expected"):
        run(state._replace(**{name: locked}))


@pytest.mark.parametrize("name", ["count", "mm_top", "slot_top", "gathered", "fills", "hand", "now", "kernel_frames"])
@pytest.mark.parametrize("value", [-1, 1 << 40, -(1 << 62)])
def test_a_number_that_leads_out_of_an_array_is_refused(name: str, value: int) -> None:
    """A number of the state that is no place in its array is named with what is allowed."""
    state = powered_on().state
    state.globals[name] = value
    if name == "now" and value > 0:
        state.globals[name] = 1 << 60

    with pytest.raises(ValueError, match=rf"guest model: {name} = .*; allowed is \d+ to \d+"):
        run(state)


@pytest.mark.parametrize("position", [-1, 1])
def test_a_position_outside_the_operations_is_refused(position: int) -> None:
    """The position is one of an operation, or the end."""
    with pytest.raises(ValueError, match=f"position = {position}; allowed is 0 to 0"):
        run(powered_on().state, position=position)


@pytest.mark.parametrize("changes", [{"vcpu": 1}, {"kind": 12}, {"time_ns": 1 << 63}])
def test_an_operation_that_nobody_looked_at_is_not_carried_out(changes: dict[str, int]) -> None:
    """The core itself looks at what would lead it out of its arrays."""
    operations = np.zeros(2, OPERATION)
    for name, value in changes.items():
        operations[name][1] = value

    assert run(powered_on().state, operations) == (Status.BAD_OPERATION, 1)


def test_events_that_find_the_buffer_full_come_in_the_next_chunks() -> None:
    """A chunk is never longer than the buffer, and the events are the same for every length of it."""
    script = process_with_pages(300)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    script.write(CHILD, DATA)
    script.add(Operation.EXIT, SHELL)

    def events(size: int) -> bytes:
        model = GuestModel(Guest(memory_mib=128), seed=1, window_ns=10_000_000, parameters={"chunk_events": size})
        chunks = [chunk.copy() for chunk in model.start()]
        chunks += [chunk.copy() for chunk in model.feed(script.operations())]
        chunks += [chunk.copy() for chunk in model.finish()]
        assert max(len(chunk) for chunk in chunks) <= size
        return np.concatenate(chunks).tobytes()

    assert len({events(size) for size in (1, 7, 1000, 1 << 20)}) == 1
