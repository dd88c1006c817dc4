"""How far a run is, from its manifest and a few small columns: without Ray, from any machine, while it runs."""

import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from results.wording import counted
from sweep.exit_codes import SweepError
from sweep.progress import format_bytes, format_seconds

if TYPE_CHECKING:
    import pyarrow as pa

    from results.store.manifest import ManifestEntry
    from results.store.storage import Storage

AXES: Final = ("policy", "workload", "guest", "replicate")
_SPEC_FILE: Final = "spec.json"
_PROVENANCE_FILE: Final = "provenance.json"
_LABELS_FILE: Final = "labels.parquet"
_FAILURES_FOLDER: Final = "failures"
_VALUES_SHOWN: Final = 16
"""Values of an axis that are listed; --json has all."""
_BAR: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One look at a run. Times are seconds since 1970."""

    run: str
    sweep: str
    cells_total: int | None
    """None for a run whose plan was never written."""
    cells_done: int
    failures: dict[str, int]
    """Kind of error -> cells that ended in it and have not succeeded since."""
    axes: dict[str, dict[str, tuple[int, int]]]
    """Axis -> value -> cells done and in total, in the order of the plan."""
    started: float | None
    """When the last driver began."""
    ended: float | None
    """When it ended; None while it runs, and after it was killed."""
    abandoned: bool
    """Whether it is known to be gone without having said so; where that can't be told, it is not known."""
    last_commit: float | None
    host: str
    cells_per_second: float | None
    """Of the last driver."""
    parts: int
    bytes: int

    @property
    def is_complete(self) -> bool:
        """Whether every cell of the plan is there."""
        return self.cells_total is not None and self.cells_done >= self.cells_total

    @property
    def is_over(self) -> bool:
        """Whether the last driver is not at work any more, as far as can be told."""
        return self.ended is not None or self.abandoned

    @property
    def seconds_left(self) -> float | None:
        """By the rate of the last driver; None if that is not known or if no driver is at work."""
        if self.cells_total is None or not self.cells_per_second or self.is_over:
            return None
        return max(0, self.cells_total - self.cells_done) / self.cells_per_second

    def content(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        times = {name: _iso(getattr(self, name)) for name in ("started", "ended", "last_commit")}
        return {
            "run": self.run,
            "sweep": self.sweep,
            "complete": self.is_complete,
            "cells": {"done": self.cells_done, "total": self.cells_total, "failed": sum(self.failures.values())},
            "failures": self.failures,
            "axes": {
                axis: [{"value": value, "done": done, "total": total} for value, (done, total) in values.items()]
                for axis, values in self.axes.items()
            },
            "cells_per_second": self.cells_per_second,
            "seconds_left": self.seconds_left,
            "host": self.host,
            **times,
            "abandoned": self.abandoned,
            "parts": self.parts,
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class RunReader:
    """Looks at one run, again and again; a part is read once, for parts never change."""

    location: str
    _ids: "dict[str, pa.Array]" = field(default_factory=dict)

    def look(self) -> RunStatus:
        """Return how far the run is now.

        Raises:
            SweepError: there is no run.
        """
        from results.store.storage import StoreError

        try:
            return self._look()
        except StoreError:
            # A compaction may just have taken away a file that was listed before: the next list is without it.
            return self._look()

    def _look(self) -> RunStatus:
        from results.store.lost import check_begun, check_commits
        from results.store.manifest import Manifest
        from results.store.opening import open_storage
        from results.store.storage import read_json

        storage = open_storage(self.location)
        manifest = Manifest(storage)
        check_begun(storage)
        try:
            spec = read_json(storage, _SPEC_FILE, dict)
            last, abandoned = _last_driver(storage)
        except FileNotFoundError as error:
            raise SweepError(
                f"{self.location}: no run here\n  `sweep status` lists the runs in ./runs; a run is made by `sweep run`"
            ) from error
        entries = manifest.live()
        named = {part.path for entry in entries for part in entry.parts}
        check_commits(manifest, [one.name for one in storage.files_in("cells") if one.name not in named])
        committed = {PurePath(one.name).stem: one.modified for one in storage.files_in(manifest.folder)}
        done = self._done(storage, manifest, entries)
        axes, total, there = _progress(storage, done)
        started = _seconds(last.get("started"))
        return RunStatus(
            run=self.location,
            sweep=str(spec.get("name", "")),
            cells_total=total,
            cells_done=len(done) if there is None else there,
            failures=_failures(storage, done),
            axes=axes,
            started=started,
            ended=_seconds(last.get("ended")),
            abandoned=abandoned,
            last_commit=max(committed.values(), default=None),
            host=str(last.get("host", "")),
            cells_per_second=_rate(entries, committed, started, last),
            parts=sum(len(entry.parts) for entry in entries),
            bytes=sum(part.bytes for entry in entries for part in entry.parts),
        )

    def _done(self, storage: "Storage", manifest: Any, entries: "Sequence[ManifestEntry]") -> "pa.Array":
        """Return the ids of committed cells."""
        import pyarrow as pa

        from results.store.soundness import HASHED_BYTES, RESTORE, other_bytes
        from results.store.storage import DamageError

        parts = [part for entry in entries for part in entry.parts if part.table == "cells"]
        hashed = storage.stages and sum(part.bytes for part in parts) <= HASHED_BYTES
        for part in parts:
            if part.sha256 not in self._ids:
                name = manifest.find(part)
                problem = other_bytes(part, storage.read(name)) if hashed else ""
                if problem:
                    raise DamageError(f"{storage.locate(name)}: {problem}\n  {RESTORE}")
                table = _read(storage, name, ["cell_id"])
                self._ids[part.sha256] = table["cell_id"].combine_chunks()
        ids = [self._ids[part.sha256] for part in parts]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())


def _last_driver(storage: "Storage") -> tuple[dict[str, Any], bool]:
    """Return the record of the last driver, and whether it is gone without a word: then nobody holds its run."""
    from results.store.opening import is_url
    from results.store.storage import read_json

    def newest() -> dict[str, Any]:
        records = read_json(storage, _PROVENANCE_FILE, list)
        return records[-1] if records and isinstance(records[-1], dict) else {}

    last = newest()
    # Locks of a shared file system may hold on one machine only; a lease in a bucket is seen by all.
    telling = is_url(storage.name) or last.get("host") == platform.node()
    if not last or "ended" in last or not telling or storage.is_locked() is not False:
        return last, False
    # Whoever ends says so before letting go: it may have done both since the first look.
    after = newest()
    return after, after == last


def _progress(
    storage: "Storage", done: "pa.Array"
) -> tuple[dict[str, dict[str, tuple[int, int]]], int | None, int | None]:
    """Return progress per axis, and how many cells the plan has and how many of those are done."""
    import pyarrow.compute as pc

    if not storage.exists(_LABELS_FILE):
        return {}, None, None
    labels = _read(storage, _LABELS_FILE, ["cell_id", *AXES])
    is_done = pc.is_in(labels["cell_id"], value_set=done)
    finished = labels.filter(is_done)
    axes = {}
    for axis in AXES:
        total = Counter(labels[axis].to_pylist())
        there = Counter(finished[axis].to_pylist())
        axes[axis] = {str(value): (there[value], count) for value, count in total.items()}
    return axes, labels.num_rows, finished.num_rows


def _failures(storage: "Storage", done: "pa.Array") -> dict[str, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [one.name for one in storage.files_in(_FAILURES_FOLDER) if one.name.endswith(".parquet")]
    if not names:
        return {}
    rows = pa.concat_tables([_read(storage, name, ["cell_id", "error"]) for name in names])
    open_ones = rows.filter(pc.invert(pc.is_in(rows["cell_id"], value_set=done)))
    last = dict(zip(open_ones["cell_id"].to_pylist(), open_ones["error"].to_pylist(), strict=True))
    return dict(Counter(last.values()).most_common())


def _rate(
    entries: "Sequence[ManifestEntry]", committed: dict[str, float], started: float | None, last: dict[str, Any]
) -> float | None:
    """Return cells per second of the last driver: of its own account, or by the commits since it began."""
    tally = last.get("tally")
    if isinstance(tally, dict):
        done, seconds = tally.get("cells_done"), tally.get("wall_seconds")
        if isinstance(done, int) and isinstance(seconds, int | float) and 0 < seconds < inf:
            return done / seconds or None
    if started is None:
        return None
    new = [entry for entry in entries if not entry.replaces and committed.get(entry.name, 0.0) >= started]
    cells = sum(part.rows for entry in new for part in entry.parts if part.table == "cells")
    wall = max((committed[entry.name] for entry in new), default=started) - started
    return cells / wall if cells and wall > 0 else None


def _read(storage: "Storage", name: str, columns: list[str]) -> "pa.Table":
    from results.store.parts import read_rows

    return read_rows(storage, name, columns)


def _seconds(text: object) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def status_lines(status: RunStatus) -> Iterator[str]:
    """Yield the lines of one run."""
    yield f"run       {status.run}" + (f" (sweep {status.sweep})" if status.sweep else "")
    yield f"state     {_state(status)}"
    total = status.cells_total
    if total is None:
        yield f"cells     {status.cells_done} done; the plan was not kept, so their total is unknown"
    else:
        share = status.cells_done / total if total else 1.0
        bar = "#" * round(share * _BAR)
        yield f"cells     {status.cells_done:,} of {total:,}  [{bar:<{_BAR}}] {100.0 * share:.1f} %"
    if status.cells_per_second:
        left = status.seconds_left
        about = "" if left is None or status.is_complete else f"; about {format_seconds(left)} left"
        yield f"rate      {status.cells_per_second:.3g} cells/s of the last driver{about}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in status.failures.items())
    failed = sum(status.failures.values())
    yield f"failures  {counted(failed, 'cell')}: {kinds}" if failed else "failures  none"
    yield f"tables    {counted(status.parts, 'file')}, {format_bytes(status.bytes)}"
    for axis, values in status.axes.items():
        yield from _axis_lines(axis, values)


def status_row(status: RunStatus) -> str:
    """Return one line about a run, for a list of runs."""
    total = "?" if status.cells_total is None else f"{status.cells_total:,}"
    failed = sum(status.failures.values())
    return f"{status.run:<32}  {status.cells_done:>9,} of {total:>9}  {failed:>6} failed  {_state(status)}"


def _axis_lines(axis: str, values: dict[str, tuple[int, int]]) -> Iterator[str]:
    if len(values) < 2:
        return
    # What is not finished is what one wants to see.
    shown = sorted(values.items(), key=lambda one: one[1][0] >= one[1][1])[:_VALUES_SHOWN]
    width = max(len(value) for value, _ in shown)
    for value, (done, total) in shown:
        yield f"{axis:<9} {value:<{width}}  {done:>7,} of {total:,}"
    if len(values) > len(shown):
        yield f"{axis:<9} and {len(values) - len(shown)} more: --json has all"


def _state(status: RunStatus) -> str:
    seen = "no commit yet" if status.last_commit is None else f"last commit {_ago(status.last_commit)}"
    if status.is_complete:
        return f"complete; {seen}"
    if status.started is None:
        return f"never started; {seen}"
    if status.ended is not None:
        return f"not complete, and the last driver ended {_ago(status.ended)}; the same command goes on"
    if status.abandoned:
        return (
            f"not complete, and the driver that began {_ago(status.started)} is gone without a word; {seen}; "
            "the same command goes on"
        )
    # From here nobody can tell a driver that works from one that was killed, but for what it leaves.
    return f"under way since {_ago(status.started)} on {status.host or 'an unknown host'}; {seen}"


def _ago(seconds: float) -> str:
    # Never less than nothing: clocks of two machines differ.
    return f"{format_seconds(round(max(0.0, time.time() - seconds)))} ago"
