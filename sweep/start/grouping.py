"""Puts small batches into one task, so that scheduling costs little, and big ones into tasks of their own."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from sweep.plan.plan import Kind
from sweep.tasks.task import WantedBatch

TASK_SECONDS: Final = 5.0
"""What a task should take: a task costs some 15 ms beside its batches, and all that a dead worker loses is one task."""
TAIL_SECONDS: Final = 1.0
"""What a task takes at least, if there is work enough, when the last ones are shared out evenly: so much time may one
worker be idle at the end, and shorter tasks would cost more than they even out."""
_JOBS_MAX: Final = 512
"""Batches in a task at most: their rows are in the worker's memory until its part is written."""
_CELLS_MAX: Final = 8192
_GROWTH: Final = 4
"""A task has at most this many times the batches of the largest one of its kind that has come back: a batch may take
longer than the first ones did."""


class Grouper:
    """Cuts a stream of batches into tasks of about `TASK_SECONDS`, by estimate at first, then by what was measured."""

    def __init__(self, batches: Iterable[tuple[WantedBatch, float | None]], *, workers: int) -> None:
        """`batches` gives each batch with the seconds that it is thought to take, or None where nothing is known."""
        self._batches = iter(batches)
        self._workers = workers
        self._ahead: deque[tuple[WantedBatch, float | None]] = deque()
        self._measured: dict[Kind, float] = {}
        self._largest: dict[Kind, int] = {}

    def next(self, *, left: int) -> tuple[WantedBatch, ...]:
        """Return the batches of the next task, none if all are handed out; `left` batches are not handed out yet."""
        group: list[WantedBatch] = []
        seconds, cells, counts = 0.0, 0, dict[Kind, int]()
        while head := self._head():
            batch, _ = head
            kind, lanes = batch.planned.kind, len(batch.planned.policies)
            cost = self._cost(head)
            counts[kind] = counts.get(kind, 0) + 1
            limit = min(TASK_SECONDS, self._fair_share(cost, left - len(group)))
            fits = seconds + cost <= limit and cells + lanes <= _CELLS_MAX and len(group) < _JOBS_MAX
            if group and not (fits and counts[kind] <= self._limit(kind)):
                break
            group.append(self._ahead.popleft()[0])
            seconds, cells = seconds + cost, cells + lanes
        return tuple(group)

    def learn(self, batches: Sequence[WantedBatch], seconds: Sequence[float]) -> None:
        """Take over what the batches of one task took."""
        kinds: dict[Kind, list[float]] = {}
        for batch, taken in zip(batches, seconds, strict=True):
            kinds.setdefault(batch.planned.kind, []).append(taken)
        for kind, values in kinds.items():
            mean = sum(values) / len(values)
            # The newest counts half: the first batch of a worker loads the core.
            self._measured[kind] = (self._measured.get(kind, mean) + mean) / 2
            self._largest[kind] = max(self._largest.get(kind, 0), len(values))

    def _head(self) -> tuple[WantedBatch, float | None] | None:
        if not self._ahead:
            self._ahead.extend(batch for batch in [next(self._batches, None)] if batch is not None)
        return self._ahead[0] if self._ahead else None

    def _cost(self, head: tuple[WantedBatch, float | None]) -> float:
        batch, estimated = head
        measured = self._measured.get(batch.planned.kind)
        # Nothing known: as if it filled a task of its own.
        return measured if measured is not None else estimated if estimated is not None else TASK_SECONDS

    def _limit(self, kind: Kind) -> int:
        return _GROWTH * self._largest[kind] if kind in self._largest else _JOBS_MAX

    def _fair_share(self, cost: float, left: int) -> float:
        """Return how long a task may be so that at the end no worker has much more to do than the others."""
        return max(TAIL_SECONDS, cost * max(1, left) / (2 * self._workers))
