"""What a run says of its answer: the summary, where the tables are and how to read them, and where the time went."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from results.wording import counted
from sweep.progress import format_bytes, format_seconds
from sweep.spec.costs import cost_model_of
from sweep.spec.spec import SweepSpec

if TYPE_CHECKING:
    from results.store.run_store import RunStore
    from sweep.start.keeper import Tally


def closing_lines(store: "RunStore", spec: SweepSpec) -> Iterator[str]:
    """Yield the summary of a run, which this process holds, and the lines that read its tables."""
    yield from answer_lines(store)
    if not store.manifest.live():
        return
    cells = store.storage.locate("cells/*.parquet")
    parts = [part for table in ("cells", "windows") for part in store.manifest.parts(table)]
    size = format_bytes(sum(part.bytes for part in parts))
    yield f"tables: {cells} and {store.storage.locate('windows/*.parquet')} ({counted(len(parts), 'file')}, {size})"
    yield f'  polars   pl.read_parquet("{cells}").group_by("policy").agg(pl.col("exits").sum())'
    yield f"  duckdb   SELECT policy, sum(exits) FROM '{cells}' GROUP BY policy"  # noqa: S608  Text for the user to copy; nothing runs it here.
    yield f"more: sweep summarize {store.name} --json   (spec: {spec.name}, costs: {spec.costs})"


def answer_lines(store: "RunStore") -> Iterator[str]:
    """Yield the summary of a run, which this process holds, with all that has to be said of it."""
    from results.notices.notices import notices_of

    notices = notices_of([store], own=True)
    yield from notices.first
    yield render_summary(store, form="text") or "no cell is finished: there is nothing to summarize"
    yield from (f"note: {note}" for note in notices.notes)


def interrupted_lines(store: "RunStore") -> Iterator[str]:
    """Yield how much of a run that was interrupted is there; nothing if its files are out of reach by now."""
    from results.notices.notices import notices_of
    from results.store.storage import StoreError

    with suppress(OSError, StoreError):
        yield from notices_of([store], own=True).first


def render_summary(
    store: "RunStore",
    *,
    form: str,
    costs: str | None = None,
    baseline: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> str | None:
    """Return the summary of a run as `form`, or None if no cell is finished; `more` are further fields of JSON."""
    from results.compare.without_effect import idle_notes
    from results.notices.idle_vcpus import idle_vcpu_notes
    from results.render import render
    from results.statistics.sequential import rule_of
    from results.store.labels import LabelledRun
    from results.summary import priced_cells, published_comparison, summarize_priced

    run, model = LabelledRun(store), cost_model_of(store, costs)
    cells = priced_cells(run, model)
    if cells is None:
        return None
    rule = rule_of(run.spec)
    summary = summarize_priced(cells, baseline or run.baseline, policies=run.policies, rule=rule)
    notes = [*idle_notes(run), *idle_vcpu_notes(run, model, summary)]
    comparison = published_comparison(cells, run.spec["workloads"], rule=rule)
    return render(summary, form, comparison, notes, confidence=rule.confidence, more=more)


def timing_lines(tally: "Tally", workers: int) -> Iterator[str]:
    """Yield how long it took and which part of it was the engine's."""
    capacity = tally.wall_seconds * workers
    if not tally.batches_done or not capacity:
        return
    parts = {
        "engine": tally.engine_seconds,
        "guest model": tally.guest_seconds,
        "generator": tally.generate_seconds,
    }
    shares = ", ".join(f"{name} {100.0 * seconds / capacity:.1f} %" for name, seconds in parts.items())
    rest = 100.0 * (1.0 - sum(parts.values()) / capacity)
    rate = tally.cells_done / tally.wall_seconds
    yield (
        f"{counted(tally.cells_done, 'cell')} in {format_seconds(tally.wall_seconds)} ({rate:.3g} cells/s); "
        f"of {workers} x wall: {shares}, rest {rest:.1f} %"
    )


def failure_lines(tally: "Tally", run: str) -> Iterator[str]:
    """Yield what failed, by cause, and what to do about it."""
    if not tally.cells_failed:
        return
    if tally.stopped:
        yield f"stopped: {tally.stopped}"
    for cause, batches in tally.causes.most_common():
        failed = counted(batches, "batch", "batches")
        yield f"  cause {cause}: {failed}; to try these again: sweep retry {run} --only {cause}"
    failed = counted(tally.cells_failed, "cell", "cells")
    yield f"{failed} failed, see {run}/failures/*.parquet; to try them all again: sweep retry {run}"
