"""A run under the names of its specification: the same tables whether they are joined with the names or not."""

from pathlib import Path
from typing import Final

import polars as pl
import pytest

from results.store.labels import LABELS, LABELS_SCHEMA, LabelledRun, note_plain_labels, write_labels
from results.store.run_store import RunStore
from results.upkeep.compaction import compact
from tests.support.synthetic import cell, make_run, replicate_batches, write_batch

PLAIN: Final = "labels-plain.json"
"""Where a run notes down that its tables hold the names of its labels already."""
TABLES: Final = ("cells", "windows")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a run of three batches, two of them compacted, whose labels are the names in its tables."""
    made = make_run(tmp_path / "run", replicate_batches(2))
    compact(made)
    make_run(tmp_path / "run", replicate_batches(3)[2:])
    write_labels(made.storage, [names_in(made)])
    note_plain_labels(made)
    return made


def names_in(store: RunStore) -> pl.DataFrame:
    """Return the names that the table of cells has."""
    return store.scan("cells").select(LABELS_SCHEMA.names()).collect()


def labelled(store: RunStore) -> dict[str, pl.DataFrame]:
    """Return all tables as readers get them, in an order of their own."""
    run = LabelledRun(store)
    return {table: run.scan(table).collect().sort(pl.all()) for table in TABLES}


def joined(store: RunStore) -> dict[str, pl.DataFrame]:
    """Return all tables as readers get them who do not know of the note."""
    store.storage.delete(PLAIN)
    return labelled(store)


def test_names_that_are_noted_as_plain_are_those_of_the_labels(store: RunStore) -> None:
    """Without the join readers get the same columns, rows and values as with it."""
    assert store.storage.exists(PLAIN)
    without = labelled(store)

    assert without["cells"].height == 12
    with_join = joined(store)
    assert all(without[table].equals(with_join[table]) for table in TABLES)


@pytest.mark.parametrize("names", ["renamed", "one cell twice", "one cell less", "two swapped"])
def test_other_names_are_not_noted_as_plain(store: RunStore, names: str) -> None:
    """Names that differ from those in the tables in any way are joined."""
    first = names_in(store)
    policy = pl.col("policy")
    changed = {
        "renamed": first.with_columns(policy=policy.replace("tdp", "ept")),
        "one cell twice": pl.concat([first, first[:1].with_columns(policy=pl.lit("mine"))]),
        "one cell less": first[1:],
        "two swapped": first.with_columns(policy=policy.replace({"tdp": "kvm-3.0", "kvm-3.0": "tdp"})),
    }[names]
    write_labels(store.storage, [changed])

    note_plain_labels(store)

    assert not store.storage.exists(PLAIN)
    found = labelled(store)["cells"].select(LABELS).sort(pl.all())
    assert found.equals(changed.select(LABELS).sort(pl.all()))


def test_a_note_does_not_outlive_a_commit(store: RunStore) -> None:
    """A cell that comes later and is in no label is not shown, though the note of before is still there."""
    store.commit(write_batch(store, "late", [cell("oracle", 7)]))

    assert store.storage.exists(PLAIN)
    assert labelled(store)["cells"]["policy"].n_unique() == 4
    assert labelled(store)["cells"].equals(joined(store)["cells"])


def test_a_note_does_not_outlive_new_labels(store: RunStore) -> None:
    """Other labels take the note away, for they may be other names."""
    write_labels(store.storage, [names_in(store)])

    assert not store.storage.exists(PLAIN)


def test_a_damaged_note_is_none(store: RunStore) -> None:
    """A note that was cut costs a join and no more."""
    store.storage.put(PLAIN, b'{"cells": ')

    assert labelled(store)["cells"].equals(joined(store)["cells"])
