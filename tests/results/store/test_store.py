"""The store of a run: whole batches or nothing, the same bytes from everyone."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.vocabulary import COUNTERS
from results.store.manifest import ManifestEntry
from results.store.rows import failures_table
from results.store.run_store import RunStore
from results.store.schema import SCHEMA_VERSION, SchemaError
from results.store.storage import StoreError
from results.upkeep.compaction import compact
from tests.support.synthetic import (
    POLICIES,
    PROVENANCE,
    SPEC,
    bytes_of,
    cell,
    failed,
    make_run,
    replicate_batches,
    totals_of,
    windows_of,
    write_batch,
)


def test_committed_batches_are_read_back(tmp_path: Path) -> None:
    """Readers get every counter of every committed cell as it was written."""
    batches = replicate_batches(2)
    store = make_run(tmp_path, batches)

    found = store.scan("cells").sort("replicate", "policy").collect()

    expected = [totals_of(windows_of(cells))[i] for _, cells in batches for i in range(len(cells))]
    assert found.select(info.name for info in COUNTERS).to_numpy().tolist() == [row.tolist() for row in expected]
    assert found["policy"].to_list() == list(POLICIES) * 2
    assert found["seed"].max() == 2**64 - 1


def test_windows_carry_their_place_in_time(tmp_path: Path) -> None:
    """Windows follow each other without gaps and end where the trace ends."""
    store = make_run(tmp_path, replicate_batches(1))

    windows = store.scan("windows").filter(pl.col("policy") == "tdp").collect()

    assert windows["window"].to_list() == [0, 1, 2]
    assert windows["start_ns"].to_list() == [0, 10_000_000, 20_000_000]
    assert windows["length_ns"].to_list() == [10_000_000, 10_000_000, 5_000_000]


def test_nothing_counts_before_the_commit(tmp_path: Path) -> None:
    """A staged batch is invisible to readers and to globs, is reported as an orphan, and can be removed."""
    store = make_run(tmp_path, [])
    staged = [store.manifest.staged(part) for part in write_batch(store, "b", [cell("kvm-3.0")]).parts]

    assert store.finished_cells() == set()
    assert store.scan("cells").collect().height == 0
    assert bytes_of(store) == {}
    assert store.orphans() == store.remove_orphans() == staged
    assert [name.split("-")[0] for name in staged] == [".tmp/cells.b", ".tmp/windows.b"]
    assert store.orphans() == []


def test_a_finished_cell_is_found(tmp_path: Path) -> None:
    """The ids of committed cells are those that need no simulation."""
    batches = replicate_batches(3)
    store = make_run(tmp_path, batches[:2])

    assert store.finished_cells() == {one.cell_id for _, cells in batches[:2] for one in cells}


def test_order_of_lanes_and_commits_leaves_no_trace(tmp_path: Path) -> None:
    """The same cells give the same files, whatever the order of lanes and batches."""
    batches = replicate_batches(4)
    first = make_run(tmp_path / "a", batches)
    second = make_run(tmp_path / "b", [(name, cells[::-1]) for name, cells in reversed(batches)])

    assert bytes_of(first) == bytes_of(second)
    assert len(bytes_of(first)) == 8


def test_time_and_host_stay_out_of_the_parts(tmp_path: Path) -> None:
    """Parts of equal results are equal, whoever ran them; provenance keeps every start."""
    first = make_run(tmp_path / "a", replicate_batches(1))
    second = RunStore(tmp_path / "b")
    second.create(SPEC, PROVENANCE | {"host": "there"})
    second.create(SPEC, PROVENANCE | {"host": "elsewhere"})
    second.commit(write_batch(second, *replicate_batches(1)[0]))

    assert bytes_of(first) == bytes_of(second)
    assert [record["host"] for record in second.provenance()] == ["there", "elsewhere"]


def test_a_lone_part_describes_itself(tmp_path: Path) -> None:
    """A footer holds the version, the specification and the fingerprint; fields hold unit, meaning and source."""
    store = make_run(tmp_path, replicate_batches(1))

    schema = pq.read_schema(tmp_path / store.manifest.files("cells")[0])

    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert schema.metadata[b"code_fingerprint"] == b"f1"
    assert b'"name":"synthetic"' in schema.metadata[b"resolved_spec"]
    for info in COUNTERS:
        metadata = {key.decode(): text.decode() for key, text in schema.field(info.name).metadata.items()}
        metadata.pop("PARQUET:field_id", None)
        assert metadata == {"unit": info.unit, "description": info.description, "source": info.source}
    assert store.spec() == SPEC


def test_committing_twice_changes_nothing(tmp_path: Path) -> None:
    """A batch that two workers have computed counts once."""
    store = make_run(tmp_path, [])
    entries = [write_batch(store, "b", [cell("kvm-3.0")]) for _ in range(2)]
    store.commit(entries[0])
    write_batch(store, "b", [cell("kvm-3.0")])
    store.commit(entries[1])

    assert entries[0] == entries[1]
    assert store.scan("cells").collect().height == 1
    assert store.orphans() == []


def test_two_answers_for_one_batch_are_an_error(tmp_path: Path) -> None:
    """A second commit with other contents is refused, and the first one stays."""
    store = make_run(tmp_path, [])
    store.commit(write_batch(store, "b", [cell("kvm-3.0")]))
    other = write_batch(store, "b", [cell("kvm-3.3")])

    with pytest.raises(StoreError, match="batch 'b' is committed with other contents"):
        store.commit(other)

    assert store.scan("cells").collect()["policy"].to_list() == ["kvm-3.0"]


def test_a_commit_without_its_part_is_refused(tmp_path: Path) -> None:
    """An entry whose files were never staged does not reach the manifest."""
    entry = write_batch(make_run(tmp_path / "a", []), "b", [cell("kvm-3.0")])
    store = make_run(tmp_path / "b", [])

    with pytest.raises(StoreError, match="Call write_part before commit"):
        store.commit(entry)

    assert store.finished_cells() == set()


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    """Tables with wrong columns, doubled cells or missing windows never get a file."""
    store = make_run(tmp_path, replicate_batches(1))
    cells, windows = (pq.read_table(tmp_path / store.manifest.files(table)[0]) for table in ("cells", "windows"))

    with pytest.raises(SchemaError, match="table cells: missing column 'exits'"):
        store.write_part("b", {"cells": cells.drop_columns("exits"), "windows": windows})
    with pytest.raises(StoreError, match="8 rows for 4 cells"):
        store.write_part("b", {"cells": pa.concat_tables([cells, cells]), "windows": windows})
    with pytest.raises(StoreError, match="cells without windows"):
        store.write_part("b", {"cells": cells, "windows": windows.slice(3)})
    with pytest.raises(StoreError, match=r"batch '\.\./b': a name has"):
        store.write_part("../b", {"cells": cells, "windows": windows})
    with pytest.raises(StoreError, match=r"tables missing: \['windows'\], unknown: \['failures'\]"):
        store.write_part("b", {"cells": cells, "failures": windows})

    assert store.orphans() == []


def test_failures_vanish_with_success(tmp_path: Path) -> None:
    """A failed cell is listed until it succeeds, once, with its latest error."""
    store = make_run(tmp_path, [])
    cells = [cell("kvm-3.0"), cell("kvm-3.3")]
    store.record_failures("b", failures_table(cells, failed("first")))
    store.record_failures("b", failures_table(cells, failed("second")))

    before = store.failures().collect()
    store.commit(write_batch(store, "retry", cells[:1]))
    after = store.failures().collect()

    assert before.select("policy", "error", "message").rows() == [
        ("kvm-3.0", "ValueError", "second"),
        ("kvm-3.3", "ValueError", "second"),
    ]
    assert after["policy"].to_list() == ["kvm-3.3"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A reader never passes over a committed file that is gone."""
    store = make_run(tmp_path, replicate_batches(2))
    (tmp_path / store.manifest.files("cells")[1]).unlink()

    with pytest.raises(StoreError, match=r"cells/batch-1-\w{16}\.parquet: the manifest lists this file, and it is mis"):
        store.scan("cells")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    """Reading where no run is says so."""
    with pytest.raises(StoreError, match=r"no run here \(spec\.json is missing\)"):
        RunStore(tmp_path / "nothing").scan("cells")


def test_an_entry_of_something_else_is_named(tmp_path: Path) -> None:
    """A manifest entry that is none stops the reader, with its path."""
    store = make_run(tmp_path, replicate_batches(1))
    (tmp_path / "manifest" / "x.json").write_text("{}")

    with pytest.raises(StoreError, match=r"x\.json: no manifest entry"):
        store.finished_cells()


def test_create_needs_a_fingerprint(tmp_path: Path) -> None:
    """Provenance without a code fingerprint is refused before anything is made."""
    with pytest.raises(StoreError, match="no text 'code_fingerprint'"):
        RunStore(tmp_path / "r").create(SPEC, {"host": "here"})

    assert not (tmp_path / "r").exists()


def test_compaction_keeps_every_row(tmp_path: Path) -> None:
    """Compaction changes files, not rows; what it replaced is gone, and doing it again changes nothing."""
    store = make_run(tmp_path, replicate_batches(5))
    cells, windows = store.scan("cells").collect(), store.scan("windows").collect()

    entry = compact(store, roll_rows=30)

    assert isinstance(entry, ManifestEntry)
    keys = ["replicate", "policy"]
    assert store.scan("cells").collect().equals(cells.sort(keys))
    assert store.scan("windows").collect().equals(windows.sort([*keys, "window"]))
    assert len(list((tmp_path / "windows").iterdir())) == 2
    assert len(list((tmp_path / "manifest").iterdir())) == 1
    assert store.orphans() == []
    assert compact(store, roll_rows=30) is None
    assert store.orphans() == []


def test_compaction_forgets_how_the_run_grew(tmp_path: Path) -> None:
    """Compacted bytes depend on the cells: not on batches, their order, lanes, or earlier compactions."""
    whole = make_run(tmp_path / "a", replicate_batches(3))
    compact(whole, roll_rows=20)
    grown = make_run(tmp_path / "b", [("x", [cell(p, 2) for p in ("tdp", "kvm-3.3")])])
    compact(grown, roll_rows=20)
    for replicate, policies in ((2, ("xiao-v1", "kvm-3.0")), (1, POLICIES[::-1]), (0, POLICIES)):
        name = f"later-{replicate}"
        grown.commit(write_batch(grown, name, [cell(policy, replicate) for policy in policies]))
    compact(grown, roll_rows=20)

    assert bytes_of(whole) == bytes_of(grown)
    assert len(bytes_of(whole)) == 3


def test_a_batch_name_may_come_back_after_compaction(tmp_path: Path) -> None:
    """A compacted batch hides its own contents only, not a later batch of the same name."""
    store = make_run(tmp_path, replicate_batches(1))
    compact(store)
    store.commit(write_batch(store, "batch-0", [cell("kvm-6.1")]))

    assert store.scan("cells").collect()["policy"].to_list() == ["kvm-6.1", *POLICIES]


def test_compaction_refuses_a_cell_in_two_batches(tmp_path: Path) -> None:
    """A cell that two batches hold is reported, and no file is touched."""
    store = make_run(tmp_path, [("a", [cell("kvm-3.0")]), ("b", [cell("kvm-3.0")])])
    before = bytes_of(store)

    with pytest.raises(StoreError, match="1 cell is in two batches"):
        compact(store)

    assert bytes_of(store) == before
