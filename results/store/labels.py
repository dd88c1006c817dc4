"""A run as its present specification sees it: the cells that it asks for, under the names that it gives them.

A cell is stored once, under the name that it was first simulated by, for names change no answer. A policy that was
renamed, or that has the same knobs as another one, gets its rows here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from results.store.lost import COSTS_FILE, has_rows
from results.store.parts import Part
from results.store.run_store import RunStore
from results.store.storage import DamageError, Storage, scan_parquet

LABELS_FILE: Final = "labels.parquet"
LABELS_LOST: Final = "missing: nobody can tell which cells count, and under which names"
LABELS: Final = ("policy", "workload", "guest", "replicate")
"""The names that a specification gives to a cell, beside its id in that file."""
LABELS_SCHEMA: Final = pl.Schema(
    {"cell_id": pl.String, "policy": pl.String, "workload": pl.String, "guest": pl.String, "replicate": pl.Int32}
)


PIECE_ROWS: Final = 500_000
"""Rows that are read at a time where all of them would be too many: those of one rolled file."""
_PLAIN_FILE: Final = "labels-plain.json"
"""Present if the tables hold the names of the labels: for which parts of the table of cells that is so."""
_SEEDS: Final = (2011, 2012)


def write_labels(storage: Storage, pieces: Iterable[pl.DataFrame]) -> None:
    """Write which cell goes by which names; the file is replaced whole, and only it is in memory, not its rows."""
    storage.delete(_PLAIN_FILE)
    content = pa.BufferOutputStream()
    with pq.ParquetWriter(content, LABELS_SCHEMA.to_frame().to_arrow().schema, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(piece.cast(LABELS_SCHEMA).to_arrow())
    storage.put(LABELS_FILE, content.getvalue())


def scan_labels(storage: Storage) -> pl.LazyFrame:
    """Return which cell goes by which names, as the file has it.

    Raises:
        FileNotFoundError: a run of an older program has none.
        DamageError: it is no such table.
    """
    try:
        with storage.open(LABELS_FILE) as file:
            missing = set(LABELS_SCHEMA) - set(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DamageError(_no_labels(storage, str(error).strip())) from error
    if missing:
        raise DamageError(_no_labels(storage, f"no column {', '.join(sorted(missing))}"))
    return scan_parquet(storage, [LABELS_FILE], LABELS_SCHEMA)


def _no_labels(storage: Storage, problem: str) -> str:
    return (
        f"{storage.locate(LABELS_FILE)}: can't be read ({problem})\n  restore the file, or go on with `sweep run` "
        "and the sweep's YAML file: it is rewritten"
    )


def check_labels(store: RunStore) -> None:
    """Do nothing if a run has the names of its cells.

    Raises:
        DamageError: they are lost.
    """
    if has_lost_labels(store):
        raise DamageError(_no_labels(store.storage, LABELS_LOST))


def has_lost_labels(store: RunStore) -> bool:
    """Say whether a run had names for its cells that are missing, and that its tables do not hold as well.

    Who starts a sweep notes down the command and writes first names, then prices, then rows. Programs that wrote no
    names wrote no prices either.
    """
    there = store.storage.exists
    if there(LABELS_FILE) or not there(COSTS_FILE) or not any("command" in record for record in store.provenance()):
        return False
    return has_rows(store.storage) and not has_plain_labels(store)


def note_plain_labels(store: RunStore) -> None:
    """Note down if all cells go by the names in their tables alone, so that readers of large runs need no join."""
    if not store.storage.exists(LABELS_FILE):
        return
    labels = _digest(scan_labels(store.storage))
    if labels == _digest(store.scan("cells")):
        parts = store.manifest.parts("cells")
        text = json.dumps({"cells": [part.sha256 for part in parts]}, indent=1) + "\n"
        store.storage.put(_PLAIN_FILE, text.encode())


def has_plain_labels(store: RunStore) -> bool:
    """Say whether the tables hold the names of the labels: exactly the cells that are planned, under these names."""
    try:
        plain = json.loads(store.storage.read(_PLAIN_FILE))
    except (FileNotFoundError, ValueError):
        return False
    return bool(plain == {"cells": [part.sha256 for part in store.manifest.parts("cells")]})


def _digest(rows: pl.LazyFrame) -> tuple[int, ...]:
    """Return the number of rows and sums of hashes of the names and ids: equal for the same rows in any order."""
    hashes = [pl.struct(LABELS_SCHEMA.names()).hash(seed) for seed in _SEEDS]
    # By halves: the sum of whole hashes does not fit into 64 bits.
    low = [(one & 0xFFFFFFFF).sum().alias(f"low {seed}") for one, seed in zip(hashes, _SEEDS, strict=True)]
    high = [(one // 2**32).sum().alias(f"high {seed}") for one, seed in zip(hashes, _SEEDS, strict=True)]
    return rows.select(pl.len(), *low, *high).collect(engine="streaming").row(0)


class LabelledRun:
    """A run that is read: its tables under the labels of its specification, and what it says about itself.

    What charts, comparisons, explanations and reports take; `results.run.Run` adds what is concluded.
    """

    def __init__(self, store: RunStore) -> None:
        """Look for the names of the cells.

        Raises:
            DamageError: the run has lost them.
        """
        self._store = store
        self.name = store.name
        check_labels(store)
        there = store.storage.exists(LABELS_FILE) and not has_plain_labels(store)
        self._labels = scan_labels(store.storage) if there else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The resolved specification."""
        return self._store.spec()

    @cached_property
    def provenance(self) -> Sequence[Mapping[str, Any]]:
        """The records of the starts of the sweep, the last one last."""
        return self._store.provenance()

    @property
    def baseline(self) -> str:
        """The policy with which the specification compares."""
        return str(self.spec["baseline"])

    @property
    def policies(self) -> tuple[str, ...]:
        """Policies as the specification has them."""
        return tuple(policy["name"] for policy in self.spec["policies"])

    @property
    def knobs(self) -> dict[str, dict[str, Any]]:
        """Policy -> its knobs, as far as the specification says them."""
        found = (policy for policy in self.spec["policies"] if isinstance(policy, Mapping))
        return {policy["name"]: policy.get("knobs", {}) for policy in found}

    @property
    def engine(self) -> str:
        """The fingerprint of the engine of the last start."""
        return str(self.provenance[-1]["code_fingerprint"]) if self.provenance else ""

    def failures(self) -> pl.LazyFrame:
        """Return one row per cell that has failed and has not succeeded since."""
        return self._store.failures()

    def pieces(self, tables: Sequence[str]) -> list[list[pl.LazyFrame]]:
        """Return tables in pieces of about `PIECE_ROWS` rows; all of the same commits."""
        entries = self._store.manifest.live()
        by_table = {name: [part for entry in entries for part in entry.parts if part.table == name] for name in tables}
        return [[self.scan(name, chosen) for chosen in _chunks(parts)] for name, parts in by_table.items()]

    def scan(self, table: str, parts: Sequence[Part] | None = None) -> pl.LazyFrame:
        """Return any table, or the rows of some of its parts; one that no batch has rows in is empty."""
        rows = self._store.scan(table, parts)
        if self._labels is None:
            return rows
        columns = rows.collect_schema().names()
        # Names of one cell get ids of their own, so that joins by cell_id keep them apart.
        twin = pl.int_range(pl.len()).over("cell_id")
        labels = self._labels.with_columns(
            _id=pl.when(twin == 0).then("cell_id").otherwise(pl.format("{}~{}", "cell_id", twin))
        )
        joined = rows.drop(LABELS).join(labels, on="cell_id", how="inner", maintain_order="left")
        return joined.with_columns(cell_id="_id").select(columns)


def _chunks(parts: Sequence[Part]) -> Iterator[list[Part]]:
    chosen: list[Part] = []
    for part in parts:
        if chosen and sum(one.rows for one in chosen) + part.rows > PIECE_ROWS:
            yield chosen
            chosen = []
        chosen.append(part)
    if chosen:
        yield chosen
