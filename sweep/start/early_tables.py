"""Shows the summary while a sweep still runs: after the first replicate of everything, and after each further one.

Batches are handed out replicate by replicate, so that with three of them a whole table is there after a third of the
time.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from results.wording import counted
from sweep.plan.plan import PlannedBatch

PERIOD_SECONDS: Final = 10.0
"""No table comes sooner after the start or after the last one: a short sweep shows the one at its end only."""
COST_SHARE: Final = 0.05
"""At most this part of the time goes into tables before the end: that of a million cells takes seconds."""


class EarlyTables:
    """Counts what is left of each replicate; says when one has become complete."""

    def __init__(
        self,
        batches: Iterable[PlannedBatch],
        show: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`batches` are those to do; `show` gets a title and prints the table below it."""
        self._left: Counter[int] = Counter()
        for batch in batches:
            self._left[batch.coordinate.replicate] += len(batch.policies)
        self._replicates = max(self._left, default=-1) + 1
        self._complete = 0
        self._skip_complete()
        self._show = show
        self._clock = clock
        self._due = clock() + PERIOD_SECONDS

    def take(self, replicate: int, cells: int) -> None:
        """Note that cells of a replicate are done or have failed; show the table if that completes a replicate."""
        before = self._complete
        self._left[replicate] -= cells
        self._skip_complete()
        now = self._clock()
        if self._complete in {before, self._replicates} or now < self._due:
            return
        self._show(f"after {self._complete} of {counted(self._replicates, 'replicate')}:")
        seconds = self._clock() - now
        self._due = now + seconds + max(PERIOD_SECONDS, seconds / COST_SHARE)

    def _skip_complete(self) -> None:
        """Count the replicates, from the first on, that have nothing left."""
        while self._complete < self._replicates and not self._left[self._complete]:
            self._complete += 1
