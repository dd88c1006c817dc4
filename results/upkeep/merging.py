"""Two runs as one: the union of their cells, the same files whichever of the two is named first."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from results.store.columns import IDENTITY
from results.store.engines import engines_of
from results.store.labels import LABELS, LABELS_FILE, LABELS_SCHEMA, check_labels, note_plain_labels, write_labels
from results.store.lost import COSTS_FILE, check_begun
from results.store.manifest import ManifestEntry
from results.store.parts import PART_TABLES, REQUIRED_TABLES, Part
from results.store.run_store import RunStore
from results.store.schema import table_schema, upgraded
from results.store.soundness import check_sound
from results.store.storage import StoreError, scan_parquet
from results.upkeep.compaction import compacted_name, in_order, stage_rolled
from results.upkeep.diff import TableDifference, diff_runs
from results.upkeep.rolling import ROLL_ROWS, Source, cells_in_order
from results.upkeep.spec_union import union_of_specs

_SHOWN: Final = 5
"""Cells that a message names."""


def merge_runs(
    first: str | Path, second: str | Path, out: str | Path, *, prefer: str | None = None, roll_rows: int = ROLL_ROWS
) -> RunStore:
    """Write the union of the cells of two runs as a new one, and return it.

    Both must be of one engine. A cell of both must have the same answer in both; the names that it goes by do not
    matter. Two cells must not go by the same names. Labels, costs and failures come along. The specification lists what
    either lists; settings that differ are those of the run `prefer`, as `results.upkeep.spec_union` says.

    Raises:
        StoreError: a run is missing or damaged, there is one at `out`, or the two can't be one.
    """
    out_store = RunStore(out)
    check_begun(out_store.storage)
    if out_store.exists():
        raise StoreError(f"{out_store.name}: there is a run. Give --out another folder, or remove it")
    # The order of the arguments must leave no trace, so the runs are put in an order of their own.
    runs = sorted((RunStore(first), RunStore(second)), key=_order)
    for run in runs:
        # What is rewritten gets a new hash, and nobody could tell any more.
        check_sound(run, hashed_bytes=math.inf)
    engine = _engine_of(runs)
    spec = union_of_specs({run.name: run.spec() for run in runs}, out_store.name, prefer)
    costs = _costs(runs, spec, prefer)
    _check_answers(runs)
    _check_names(runs)
    records = [record for store in runs for record in store.provenance()]
    unique = {json.dumps(record, sort_keys=True): record for record in records}
    history = [unique[text] for text in sorted(unique, key=lambda text: (str(unique[text].get("started")), text))]
    out_store.create(spec, {"code_fingerprint": engine})
    out_store.write_provenance([*history, *out_store.provenance()])
    parts = in_order([part for table in PART_TABLES for part in _union(runs, out_store, table, roll_rows)])
    if parts:
        out_store.commit(ManifestEntry(name=compacted_name(parts), parts=parts))
    _write_beside(runs, out_store, costs)
    out_store.manifest.publish()
    return out_store


def _order(store: RunStore) -> tuple[str, list[str]]:
    return json.dumps(store.spec(), sort_keys=True), sorted(entry.digest() for entry in store.manifest.live())


def _engine_of(runs: Sequence[RunStore]) -> str:
    """Return the fingerprint of the engine that the cells of all runs are from.

    Raises:
        StoreError: they are from several.
    """
    engines = {run.name: engines_of(run) for run in sorted(runs, key=lambda run: run.name)}
    several = sorted({engine for found in engines.values() for engine in found})
    if len(several) > 1:
        which = ", ".join(f"{' and '.join(found)} in {run}" for run, found in engines.items())
        raise StoreError(
            f"{' and '.join(engines)} are of different engines: {which}. Their cells are not comparable: run one of "
            "the two sweeps anew with the engine of the other one"
        )
    records = [record for run in runs for record in run.provenance()]
    return next(iter(several), str(records[-1]["code_fingerprint"]) if records else "")


def _check_answers(runs: Sequence[RunStore]) -> None:
    """Raise StoreError if a cell has other rows in one run than in the other one."""
    shared = set(runs[0].finished_cells()) & set(runs[1].finished_cells())
    if not shared:
        return
    for table in diff_runs(runs[0].name, runs[1].name).tables:
        wrong = {name: cells for name, cells in table.columns.items() if name not in LABELS}
        wrong |= _missing(table, shared)
        if wrong:
            column, cells = next(iter(wrong.items()))
            every = {cell for some in wrong.values() for cell in some}
            raise StoreError(
                f"{runs[0].name} and {runs[1].name} have different answers for {len(every)} of the same cells: table "
                f"{table.table}, column '{column}', cells {', '.join(cells[:_SHOWN])}. One of the two is damaged (see "
                "`sweep fsck`), or somebody's engine is not the one whose fingerprint it bears; `sweep diff` lists all"
            )


def _missing(table: TableDifference, shared: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the cells of both runs of which one has rows that the other lacks."""
    if table.table not in REQUIRED_TABLES:
        return {}  # A run of an older version has no rows there.
    cells = tuple(cell for cell in (*table.only_in_first, *table.only_in_second) if cell in shared)
    return {"window": cells} if cells else {}


def _check_names(runs: Sequence[RunStore]) -> None:
    """Raise StoreError if two cells would go by the same names: nobody could tell them apart in a table."""
    facts = [column.name for column in IDENTITY if column.name not in {"cell_id", *LABELS}]
    named = [_labels(run).join(run.scan("cells").select("cell_id", *facts).collect(), on="cell_id") for run in runs]
    both = named[0].join(named[1], on=LABELS, suffix=" of second")
    twice = both.filter(pl.col("cell_id") != pl.col("cell_id of second")).sort(*LABELS, "cell_id", "cell_id of second")
    if twice.is_empty():
        return
    row = twice.row(0, named=True)
    names = ", ".join(f"{name} {row[name]}" for name in LABELS)
    differs = [
        f"{fact} {row[fact]} and {row[f'{fact} of second']}" for fact in facts if row[fact] != row[f"{fact} of second"]
    ]
    raise StoreError(
        f"{runs[0].name} and {runs[1].name} mean {twice.height} different cells by the same names, such as {names}: "
        f"{'; '.join(differs) or 'other knobs or parameters'}. Run one of the two sweeps anew with the "
        "settings of the other one, or compare the runs with `sweep compare`"
    )


def _union(runs: Sequence[RunStore], out: RunStore, table: str, roll_rows: int) -> Sequence[Part]:
    sources = [Source(storage=run.storage, name=name) for run in runs for name in run.manifest.files(table)]
    if not sources:
        return []
    cells = cells_in_order(sources).first_of_each()
    return list(stage_rolled(out, table, sources, cells, roll_rows=roll_rows))


def _costs(runs: Sequence[RunStore], spec: Mapping[str, Any], prefer: str | None) -> bytes | None:
    """Return the prices that the union is to carry, or None if no run has those that its specification names.

    Raises:
        StoreError: the runs have different prices under that name, and `prefer` is none of them.
    """
    carrying = [run for run in runs if run.spec().get("costs") == spec["costs"] and run.storage.exists(COSTS_FILE)]
    found = {run.name: run.storage.read(COSTS_FILE) for run in carrying}
    if len(set(found.values())) > 1 and prefer not in found:
        choices = " or ".join(f"--prefer {run}" for run in found)
        raise StoreError(
            f"{' and '.join(found)} have different prices under the name '{spec['costs']}'. Give {choices}"
        )
    return found.get(str(prefer), next(iter(found.values()), None))


def _write_beside(runs: Sequence[RunStore], out: RunStore, costs: bytes | None) -> None:
    """Write what goes with the tables: names of cells, prices, and what has failed in both runs."""
    if any(run.storage.exists(LABELS_FILE) for run in runs):
        names = pl.concat([_labels(run) for run in runs]).unique().sort(LABELS_SCHEMA.names())
        write_labels(out.storage, [names])
        note_plain_labels(out)
    if costs is not None:
        out.storage.put(COSTS_FILE, costs)
    failures = pl.concat([run.failures().collect() for run in runs])
    left = failures.filter(~pl.col("cell_id").is_in(list(out.finished_cells())))
    if left.height:
        # Of two failures of a cell the one that was tried more often says more.
        order = ["cell_id", "attempt", *(name for name in left.columns if name not in {"cell_id", "attempt"})]
        last = left.sort(order).unique(subset="cell_id", keep="last", maintain_order=True)
        out.record_failures("merged", upgraded("failures", last.to_arrow().cast(table_schema("failures"))))


def _labels(run: RunStore) -> pl.DataFrame:
    """Return the names of a run's cells."""
    check_labels(run)
    if run.storage.exists(LABELS_FILE):
        return scan_parquet(run.storage, [LABELS_FILE], LABELS_SCHEMA).collect()
    return run.scan("cells").select(LABELS_SCHEMA.names()).collect()
