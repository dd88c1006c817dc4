"""Limits and refusals: memory pressure, chunks, wrong guests and parameters; and the digest of a small trace."""

import hashlib
from typing import Any

import numpy as np
import pytest

from engine.core.guest.model import GuestModel
from engine.events import EVENT
from engine.guest.parameters import PARAMETERS, resolve
from engine.guests import Guest
from engine.operations import OPERATION
from engine.vocabulary import Operation
from tests.support.guest.scripts import (
    CHILD,
    DATA,
    FORK,
    PAGE,
    SHELL,
    after,
    new_model,
    process_with_pages,
    small_guest,
)

GOLDEN_DIGEST = "fe3cc28ddce78801"


def test_memory_pressure_takes_pages_away_instead_of_failing() -> None:
    """A process larger than the memory goes on; pages that were taken away are counted."""
    script = process_with_pages(1)
    for page in range(9000):
        script.write(SHELL, 4 * DATA + page * PAGE)

    model, _ = after(script, {"low_frames": 64}, memory_mib=80)

    assert model.reclaimed_pages > 0


def test_a_long_trace_comes_in_chunks() -> None:
    """The buffer is handed out each time that it is full, also within one operation."""
    script = process_with_pages(6000)
    script.add(Operation.EXIT, SHELL)
    model = new_model(small_guest())

    sizes = [len(chunk) for chunk in model.start()]
    sizes += [len(chunk) for chunk in model.feed(script.operations())]
    sizes += [len(chunk) for chunk in model.finish()]

    assert len(sizes) > 2
    assert max(sizes) <= len(model.state.out)


def test_a_small_trace_has_the_digest_that_was_reviewed() -> None:
    """The events of a small trace are these bytes; only a change of the model on purpose changes them."""
    script = process_with_pages(50)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    script.add(Operation.SWITCH_IN, CHILD, vcpu=1)
    script.write(CHILD, DATA)
    script.add(Operation.EXEC, CHILD, comm=1, vcpu=1, after_ns=20_000_000)
    script.add(Operation.FAULT, CHILD, 0x555555554000, flags=0x14, vcpu=1, comm=1)
    script.add(Operation.EXIT, CHILD, vcpu=1)
    script.add(Operation.EXIT, SHELL)

    _, events = after(script, vcpus=2)

    digest = hashlib.blake2b(events.tobytes(), digest_size=8).hexdigest()
    assert events.dtype == EVENT
    assert digest == GOLDEN_DIGEST


@pytest.mark.parametrize(
    ("guest", "parameters", "message"),
    [
        ({"memory_mib": 60}, {}, "memory_mib = 60"),
        ({"clear_instruction": "dc zva"}, {}, "clear_instruction: expected one of stosq, stosb, mov, found 'dc zva'"),
        (
            {"write_protect_instruction": "and"},
            {},
            "instruction: expected one of lock_and, cmpxchg, found 'and'",
        ),
        ({"vcpus": 0}, {}, "vcpus: expected a whole number from 1 to 64, found 0"),
        ({}, {"pcp_bach": 1}, "unknown name 'pcp_bach'. Allowed: chunk_events"),
        ({}, {"pcp_batch": 0}, "pcp_batch: expected a whole number from 1 to 512, found 0"),
        ({}, {"pcp_batch": "many"}, "pcp_batch: expected a whole number from 1 to 512, found 'many'"),
    ],
)
def test_what_cannot_be_is_refused(guest: dict[str, Any], parameters: dict[str, Any], message: str) -> None:
    """A wrong guest or parameter is an error that names it, what was found and what is allowed."""
    with pytest.raises(ValueError, match="guest") as caught:
        GuestModel(Guest(**guest), seed=1, window_ns=1000, parameters=parameters)

    assert message in str(caught.value)


def test_a_trace_for_more_vcpus_is_refused() -> None:
    """An operation on a vCPU that the guest lacks names the operation and the vCPUs that there are."""
    model = new_model(small_guest())
    operations = np.zeros(1, OPERATION)
    operations["vcpu"] = 3

    with pytest.raises(ValueError, match=r"operation 0 \(SWITCH_IN, pid 0, vcpu 3\) at 0 ns: guests.vcpus is 1"):
        list(model.feed(operations))


def test_every_parameter_says_where_it_comes_from() -> None:
    """Each default names a source, and each parameter what it means."""
    assert all(parameter.source and parameter.meaning for parameter in PARAMETERS.values())
    assert set(resolve({})) == set(PARAMETERS)
