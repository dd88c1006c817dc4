"""Keeps what comes back: commits parts, notes what batches took, writes failures as rows, and counts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from results.store.manifest import ManifestEntry
from results.store.rows import FailedBatch, failures_table
from results.store.run_store import RunStore
from sweep.plan.plan import PlannedBatch
from sweep.plan.timings import TIMINGS_FILE, BatchReport, BatchTiming, timing_text
from sweep.progress import Progress
from sweep.start.early_tables import EarlyTables
from sweep.tasks.failures import without_secrets
from sweep.tasks.task import Failure, WantedBatch
from sweep.tasks.worker import batch_cells, batch_name, batch_title

_TIMINGS_CHARACTERS: Final = 1 << 20
"""So much is held before it goes to a bucket: some 2,000 batches (assumption); a crash may lose it."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one start of a sweep did."""

    cells_done: int = 0
    cells_failed: int = 0
    batches_done: int = 0
    tasks_done: int = 0
    batches_left: int = 0
    """Batches that were not finished when the start ended."""
    wall_seconds: float = 0.0
    batch_seconds: float = 0.0
    generate_seconds: float = 0.0
    guest_seconds: float = 0.0
    engine_seconds: float = 0.0
    causes: Counter[str] = field(default_factory=Counter)
    """Failed batches by cause."""
    interrupted: bool = False
    stop_asked: bool = False
    """Whether somebody asked for an end, even if by then nothing was left to do."""
    stopped: str = ""
    """Why the sweep ended before its end, if it did and nobody interrupted it."""


class Keeper:
    """The only one who writes to the run's manifest. Holds sums, never rows."""

    def __init__(
        self,
        store: RunStore,
        progress: Progress,
        reproduce: Callable[[str], str],
        *,
        tally: Tally | None = None,
        tables: EarlyTables | None = None,
    ) -> None:
        """`reproduce` gives the command that runs a batch of a name in a terminal; `tally` is what was done before."""
        self.tally = Tally() if tally is None else tally
        self._tables = tables
        self._store = store
        self._progress = progress
        self._reproduce = reproduce
        self._timings = ""

    def keep(self, entry: ManifestEntry, done: Sequence[tuple[WantedBatch, BatchReport]]) -> None:
        """Commit the part of a task and count its batches."""
        self._store.commit(entry)
        self.tally.tasks_done += 1
        part_bytes = sum(part.bytes for part in entry.parts)
        cells = sum(len(batch.planned.policies) for batch, _ in done)
        timings = []
        for batch, report in done:
            lanes = len(batch.planned.policies)
            self.tally.cells_done += lanes
            self.tally.batches_done += 1
            self.tally.batch_seconds += report.seconds
            self.tally.generate_seconds += report.generate_seconds
            self.tally.guest_seconds += report.guest_seconds
            self.tally.engine_seconds += report.engine_seconds
            timings.append(_timing(batch.planned, report, part_bytes * lanes // cells))
            self._advance(batch)
        self._timings += timing_text(timings)
        if self._store.storage.stages or len(self._timings) >= _TIMINGS_CHARACTERS:
            self.write_timings()

    def write_timings(self) -> None:
        """Add to the run's log what is not there yet; in a bucket each addition is an object, so there are few."""
        if self._timings:
            self._store.storage.append(TIMINGS_FILE, self._timings)
        self._timings = ""

    def fail(self, batch: WantedBatch, failure: Failure) -> None:
        """Write why a batch has no rows."""
        planned = batch.planned
        name = batch_name(planned.cell_ids)
        failed = FailedBatch(
            attempt=batch.attempt + batch.moves,
            fingerprint=failure.cause,
            error=failure.error,
            message=failure.message,
            traceback=failure.traceback,
            host=failure.host,
            stderr=failure.stderr,
            command=without_secrets(self._reproduce(name)),
        )
        self._store.record_failures(name, failures_table(batch_cells(planned), failed))
        self.tally.cells_failed += len(planned.policies)
        self.tally.causes[failure.cause] += 1
        self._progress.note(
            f"failed: {batch_title(planned)}: {failure.error}: {failure.message}\n"
            f"  cause {failure.cause}; to see it here: {failed.command}"
        )
        self._advance(batch)

    def check_reach(self) -> None:
        """Look for the run.

        Raises:
            UnreachableError: it does not answer this process either.
        """
        self._store.exists()

    def note(self, batch: WantedBatch, failure: Failure, then: str) -> None:
        """Say that a batch went wrong and what happens now."""
        self._progress.note(f"{batch_title(batch.planned)}: {failure.error}: {failure.message}; {then}")

    def _advance(self, batch: WantedBatch) -> None:
        cells = len(batch.planned.policies)
        self._progress.advance(cells, batch.share)
        if self._tables is not None:
            self._tables.take(batch.planned.coordinate.replicate, cells)


def _timing(planned: PlannedBatch, report: BatchReport, part_bytes: int) -> BatchTiming:
    coordinate = planned.coordinate
    return BatchTiming(
        batch=batch_name(planned.cell_ids),
        workload=coordinate.workload.name,
        parameters=coordinate.workload.parameters,
        guest=asdict(coordinate.guest),
        replicate=coordinate.replicate,
        lanes=len(planned.policies),
        window_ns=planned.window_ns,
        part_bytes=part_bytes,
        **asdict(report),
    )
