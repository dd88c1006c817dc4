"""What a sweep will take, by batches that were run before."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sweep.plan.estimate import estimate
from sweep.plan.plan import PlannedBatch, plan_sweep
from sweep.plan.timings import BatchTiming
from tests.support.starting import read, write_spec


@pytest.fixture
def batches(tmp_path: Path) -> tuple[PlannedBatch, ...]:
    """Return the batches of a small sweep: two guests, two replicates."""
    return plan_sweep(read(write_spec(tmp_path)), "a fake engine").batches


def timing(batch: PlannedBatch, seconds: float, **parameters: object) -> BatchTiming:
    """Return what a batch took, under other parameters if any are given."""
    coordinate = batch.coordinate
    return BatchTiming(
        batch=f"{seconds}",
        workload=coordinate.workload.name,
        parameters={**coordinate.workload.parameters, **parameters},
        guest=asdict(coordinate.guest),
        replicate=coordinate.replicate,
        lanes=len(batch.policies),
        window_ns=batch.window_ns,
        windows=10,
        events=1000,
        native_seconds=1.0,
        seconds=seconds,
        generate_seconds=0.0,
        guest_seconds=0.0,
        engine_seconds=seconds,
        part_bytes=4000,
    )


def test_a_batch_is_measured_by_its_like(batches: tuple[PlannedBatch, ...]) -> None:
    """Of the batches that were run, those of the same workload and guest count, by their median."""
    first, second = (next(b for b in batches if b.coordinate.guest.vcpus == vcpus) for vcpus in (1, 2))
    known = [timing(first, 3.0), timing(first, 4.0), timing(first, 90.0), timing(second, 7.0)]

    cost = estimate(batches, [*known, timing(first, 1000.0, compile_units=50)])

    assert cost is not None
    assert cost.core_seconds == tuple({1: 4.0, 2: 7.0}[batch.coordinate.guest.vcpus] for batch in batches)
    assert cost.source == "4 earlier batches here"


def test_another_guest_is_named(batches: tuple[PlannedBatch, ...]) -> None:
    """Where only other guests were run, the estimate says that it stands on those."""
    cost = estimate(batches, [timing(batches[0], 3.0)])

    assert cost is not None
    assert cost.source == "1 earlier batches here, on other guests"


def test_another_size_is_a_guess_and_says_so(batches: tuple[PlannedBatch, ...]) -> None:
    """Where only other parameters were run, the next in size count in proportion, and the estimate is called rough."""
    mine = batches[0]
    larger = replace(mine.coordinate.workload, parameters={**mine.coordinate.workload.parameters, "compile_units": 8})
    planned = replace(mine, coordinate=replace(mine.coordinate, workload=larger))

    cost = estimate([planned], [timing(mine, 10.0, compile_units=4), timing(mine, 3000.0, compile_units=1000)])

    assert cost is not None
    assert cost.core_seconds == (20.0,)
    assert cost.source == "1 earlier batches here, of other parameters: a rough guess"


def test_what_was_never_run_has_no_estimate(batches: tuple[PlannedBatch, ...]) -> None:
    """A workload that was never run has no estimate, whatever else was."""
    assert estimate(batches, [replace(timing(batches[0], 3.0), workload="fork")]) is None
