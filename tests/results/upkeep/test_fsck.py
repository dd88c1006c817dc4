"""Checks of a run: silent about sound ones, and each kind of damage or leftover has its own words."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results.store.labels import LABELS_FILE, LABELS_SCHEMA, write_labels
from results.store.lost import LOST
from results.store.parts import PART_TABLES
from results.store.rows import failures_table
from results.store.run_store import RunStore
from results.store.soundness import check_sound
from results.store.storage import DamageError
from results.upkeep.compaction import compact
from results.upkeep.fsck import Level, check_run
from tests.support.project import ROOT
from tests.support.synthetic import PROVENANCE, cell, failed, make_run, replicate_batches, write_batch


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a compacted run of two batches."""
    made = make_run(tmp_path / "run", replicate_batches(2))
    compact(made)
    return made


def the_file(store: RunStore, table: str) -> Path:
    """Return the only file of a table."""
    (name,) = store.manifest.files(table)
    return store.path / name


def test_a_sound_run_gives_no_finding(store: RunStore) -> None:
    """All rows and files are counted, and nothing is found."""
    found = check_run(store)

    assert found.findings == []
    assert found.rows == {"cells": 8, "windows": 24}
    assert (found.commits, found.files) == (1, 2)
    assert found.bytes == sum(path.stat().st_size for table in PART_TABLES for path in (store.path / table).glob("*"))


def flip(store: RunStore) -> None:
    """Change one byte of the data of a file."""
    path = the_file(store, "windows")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def cut(store: RunStore) -> None:
    """Lose the end of a file."""
    path = the_file(store, "cells")
    path.write_bytes(path.read_bytes()[:-50])


def lose(store: RunStore) -> None:
    """Lose a file."""
    the_file(store, "windows").unlink()


def scribble(store: RunStore) -> None:
    """Put something else among the commits."""
    (store.path / "manifest" / "x.json").write_text("{}")


def unspecify(store: RunStore) -> None:
    """Cut the specification."""
    (store.path / "spec.json").write_text('{"name": ')
    store.spec = dict  # type: ignore[method-assign]


def reorder(store: RunStore) -> None:
    """Write the rows of a file in another order."""
    path = the_file(store, "cells")
    rows = pq.read_table(path)
    pq.write_table(rows.take(list(range(rows.num_rows))[::-1]), path)


def rename(store: RunStore) -> None:
    """Give a column another name."""
    path = the_file(store, "cells")
    rows = pq.read_table(path)
    renamed = rows.rename_columns(["exit" if name == "exits" else name for name in rows.schema.names])
    pq.write_table(renamed.replace_schema_metadata(rows.schema.metadata), path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip, ["bytes with hash"]),
        (cut, ["bytes with hash", "Parquet"]),
        (lose, ["it is missing", "8 cells"]),
        (scribble, ["no manifest entry"]),
        (unspecify, ["no JSON"]),
        (reorder, ["bytes with hash", "rows are not in the order of workload"]),
        (rename, ["bytes with hash", "columns missing: ['exits'], unknown or of another type: ['exit']"]),
    ],
)
def test_damage_is_named(store: RunStore, harm: Callable[[RunStore], None], words: list[str]) -> None:
    """Every kind of damage is found, with its place and what to do."""
    harm(store)

    found = check_run(store)

    damage = [one for one in found.findings if one.level is Level.DAMAGE]
    assert found.is_damaged
    assert [word for word in words if not any(word in one.what for one in damage)] == []
    assert all(one.place and one.then for one in damage)


def test_a_cell_in_two_batches_is_damage(tmp_path: Path) -> None:
    """Two batches with the same cell are found in both tables."""
    store = make_run(tmp_path, [("a", [cell("kvm-3.0")]), ("b", [cell("kvm-3.0")])])

    damage = [one for one in check_run(store).findings if one.level is Level.DAMAGE]

    assert [one.place for one in damage] == ["cells", "windows"]
    assert all(one.what == f"1 cell ({cell('kvm-3.0').cell_id}) in two files" for one in damage)


def test_files_whose_commit_was_lost_are_damage(tmp_path: Path) -> None:
    """Each file that only a lost commit named is damage, and neither a start nor gc removes one; others are sound."""
    store = make_run(tmp_path / "run", replicate_batches(2))
    entry = store.manifest.live()[0]
    (store.path / "manifest" / f"{entry.name}.json").unlink()
    staged = write_batch(store, "late", [cell("oracle")])

    damage = [one for one in check_run(store).findings if one.level is Level.DAMAGE]

    assert {one.place for one in damage} == {part.path for part in entry.parts}
    assert {one.what for one in damage} == {LOST}
    for act in (store.remove_orphans, lambda: check_sound(store)):
        with pytest.raises(DamageError, match=r"cells/batch-0-\w+\.parquet: no commit .* \(and 1 more files\)"):
            act()
    assert all((store.path / part.path).is_file() for part in entry.parts)
    assert all((store.path / store.manifest.staged(part)).is_file() for part in staged.parts)


def test_what_a_compaction_removed_and_the_disk_kept_is_no_damage(tmp_path: Path) -> None:
    """Files that come back after their commit, of cells that are in other commits, are leftovers and are removed."""
    store = make_run(tmp_path / "run", replicate_batches(2))
    kept = {path: path.read_bytes() for path in store.path.glob("cells/*.parquet")}
    compact(store)
    for path, content in kept.items():
        path.write_bytes(content)

    found = check_run(store)
    check_sound(store)
    removed = store.remove_orphans()

    assert not found.is_damaged
    assert [one.place for one in found.findings if one.level is Level.LEFTOVER] == removed
    assert removed == sorted(path.relative_to(store.path).as_posix() for path in kept)


@pytest.mark.parametrize(
    ("starts", "labelled", "level"),
    [
        ([("f1", 8), ("f1", 0)], True, None),
        ([("f1", 0), ("f2", 8)], False, None),
        ([("f1", 4), ("f2", 4)], True, Level.LEFTOVER),
        ([("f1", 4), ("f2", 4)], False, Level.DAMAGE),
        ([("f1", 4), ("f2", 4), ("f1+f2", 8)], True, Level.DAMAGE),
    ],
)
def test_cells_of_two_engines_are_found(
    store: RunStore, starts: list[tuple[str, int]], *, labelled: bool, level: Level | None
) -> None:
    """Runs of older programs may mix engines: fsck names them, and where labels don't tell them apart nobody reads."""
    tallies = [(name, {"cells_done": count, "cells_failed": 0}) for name, count in starts]
    store.write_provenance([PROVENANCE | {"code_fingerprint": name, "tally": tally} for name, tally in tallies])
    if labelled:
        write_labels(store.storage, [store.scan("cells").select(LABELS_SCHEMA.names()).collect()])

    found = [one for one in check_run(store).findings if one.place == "provenance.json"]

    assert [one.level for one in found] == ([] if level is None else [level])
    assert all("engines f1 and f2" in one.what for one in found)
    with pytest.raises(DamageError, match="engines f1 and f2") if level is Level.DAMAGE else nullcontext():
        check_sound(store)


def test_leftovers_are_no_damage(tmp_path: Path) -> None:
    """What a crash leaves is listed with what tidies it up, and the run is sound."""
    store = make_run(tmp_path, replicate_batches(1))
    staged = write_batch(store, "late", [cell("oracle")])
    owed = write_batch(store, "owed", [cell("kvm-6.1")])
    store.manifest.add(owed)

    found = check_run(store)

    assert not found.is_damaged
    leftovers = {one.place: one.then for one in found.findings if one.level is Level.LEFTOVER}
    assert leftovers == {
        **{store.manifest.staged(part): "`sweep gc` removes it" for part in staged.parts},
        **{
            store.manifest.staged(part): "`sweep gc` finishes it, and so does the next start of the sweep"
            for part in owed.parts
        },
    }
    assert [one.what for one in found.findings if one.level is Level.ADVICE] == ["2 commits with 4 files"]


def test_a_half_done_compaction_is_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that a compaction has taken the place of count as leftovers until somebody tidies up."""
    store = make_run(tmp_path, replicate_batches(2))
    monkeypatch.setattr(store.manifest, "finish", lambda: None)
    compact(store)
    monkeypatch.undo()

    before = check_run(store)
    store.manifest.finish()
    after = check_run(store)

    assert not before.is_damaged
    assert [one.place for one in before.findings if "takes its place" in one.what] == [
        "manifest/batch-0.json",
        "manifest/batch-1.json",
    ]
    assert after.findings == []


def test_a_check_leaves_no_thread_behind(store: RunStore) -> None:
    """Arrow and polars have as many threads after a check as before: none is left to end with the interpreter."""
    store.record_failures("x", failures_table([cell("oracle")], failed("once")))
    store.scan("cells").select(LABELS_SCHEMA.names()).collect().write_parquet(store.path / LABELS_FILE)
    code = f"""
import os
from results.upkeep.fsck import check_run
from results.store.run_store import RunStore
before = len(os.listdir("/proc/self/task"))
found = check_run(RunStore({str(store.path)!r}))
print(found.is_damaged, found.rows, len(os.listdir("/proc/self/task")) - before)
"""

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)

    assert done.stdout == "False {'cells': 8, 'windows': 24} 0\n"
