"""How batches become tasks."""

from pathlib import Path

import pytest

from sweep.grouping import TAIL_SECONDS, TASK_SECONDS, Grouper
from sweep.outcome import Job
from sweep.plan import plan_sweep
from tests.sweep.starting import read, write_spec


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Return 1,000 batches of one kind."""
    spec = read(write_spec(tmp_path), "replicates=1000", "guests.vcpus=1")
    return [Job(planned=batch, share=0.001) for batch in plan_sweep(spec, "an engine").batches]


def tasks(grouper: Grouper, count: int) -> list[int]:
    """Hand out everything and return how many batches each task has."""
    sizes = []
    while size := len(grouper.next(left=count - sum(sizes))):
        sizes.append(size)
    return sizes


def test_small_batches_fill_tasks_of_some_seconds(jobs: list[Job]) -> None:
    """Batches are grouped up to the length of a task; the last ones are smaller, so that all workers end together."""
    sizes = tasks(Grouper(((job, 0.1) for job in jobs), workers=2), len(jobs))

    assert sum(sizes) == len(jobs)
    assert max(sizes) == sizes[0] == round(TASK_SECONDS / 0.1)
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes[:-1]) == round(TAIL_SECONDS / 0.1)


def test_long_batches_stay_alone(jobs: list[Job]) -> None:
    """A batch that takes as long as a task is one, and so is a batch of which nothing is known."""
    long = tasks(Grouper(((job, 2 * TASK_SECONDS) for job in jobs), workers=2), len(jobs))
    unknown = tasks(Grouper(((job, None) for job in jobs), workers=2), len(jobs))

    assert set(long) == set(unknown) == {1}


def test_what_was_measured_replaces_the_estimate_step_by_step(jobs: list[Job]) -> None:
    """After the first batches have come back tasks grow, at most fourfold each time that one has come back."""
    grouper = Grouper(((job, None) for job in jobs), workers=2)
    sizes = []
    left = len(jobs)
    for _ in range(4):
        task = grouper.next(left=left)
        left -= len(task)
        sizes.append(len(task))
        grouper.learn(task, [0.01] * len(task))

    assert sizes == [1, 4, 16, 64]
