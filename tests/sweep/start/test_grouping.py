"""How batches become tasks."""

from pathlib import Path

import pytest

from sweep.plan.plan import plan_sweep
from sweep.start.grouping import TAIL_SECONDS, TASK_SECONDS, Grouper
from sweep.tasks.task import WantedBatch
from tests.support.starting import read, write_spec


@pytest.fixture
def batches(tmp_path: Path) -> list[WantedBatch]:
    """Return 1,000 batches of one kind."""
    spec = read(write_spec(tmp_path), "replicates=1000", "guests.vcpus=1")
    return [WantedBatch(planned=batch, share=0.001) for batch in plan_sweep(spec, "an engine").batches]


def tasks(grouper: Grouper, count: int) -> list[int]:
    """Hand out everything and return how many batches each task has."""
    sizes = []
    while size := len(grouper.next(left=count - sum(sizes))):
        sizes.append(size)
    return sizes


def test_small_batches_fill_tasks_of_some_seconds(batches: list[WantedBatch]) -> None:
    """Batches are grouped up to the length of a task; the last ones are smaller, so that all workers end together."""
    sizes = tasks(Grouper(((batch, 0.1) for batch in batches), workers=2), len(batches))

    assert sum(sizes) == len(batches)
    assert max(sizes) == sizes[0] == round(TASK_SECONDS / 0.1)
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes[:-1]) == round(TAIL_SECONDS / 0.1)


def test_long_batches_stay_alone(batches: list[WantedBatch]) -> None:
    """A batch that takes as long as a task is one, and so is a batch of which nothing is known."""
    long = tasks(Grouper(((batch, 2 * TASK_SECONDS) for batch in batches), workers=2), len(batches))
    unknown = tasks(Grouper(((batch, None) for batch in batches), workers=2), len(batches))

    assert set(long) == set(unknown) == {1}


def test_what_was_measured_replaces_the_estimate_step_by_step(batches: list[WantedBatch]) -> None:
    """After the first batches have come back tasks grow, at most fourfold each time that one has come back."""
    grouper = Grouper(((batch, None) for batch in batches), workers=2)
    sizes = []
    left = len(batches)
    for _ in range(4):
        task = grouper.next(left=left)
        left -= len(task)
        sizes.append(len(task))
        grouper.learn(task, [0.01] * len(task))

    assert sizes == [1, 4, 16, 64]
