"""Runs in an object store, against a real server: commits, races, leases, and readers that know only latest.json."""

import json
import math
import multiprocessing
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from results.store import lease as storage_lease
from results.store.lease import LEASE_FILE
from results.store.manifest import LATEST_FILE
from results.store.objects import ObjectStorage
from results.store.opening import open_storage
from results.store.run_store import RunStore
from results.store.soundness import check_sound
from results.store.storage import DamageError, StoreError
from results.upkeep.compaction import compact
from results.upkeep.diff import diff_runs
from results.upkeep.fsck import Level, check_run
from results.upkeep.merging import merge_runs
from tests.support.s3_server import BUCKET, KEY, SECRET, arrow_files, objects, s3_server
from tests.support.synthetic import PROVENANCE, SPEC, cell, make_run, replicate_batches, write_batch


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """Serve a bucket for all tests of this file."""
    with s3_server() as environment:
        yield environment


@pytest.fixture
def url(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a run that is not there yet; the environment says how to reach it."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


def new_run(url: str, batches: int) -> RunStore:
    """Write a run of some batches."""
    store = RunStore(url)
    store.create(SPEC, PROVENANCE)
    for name, cells in replicate_batches(batches):
        store.commit(write_batch(store, name, cells))
    return store


def test_a_run_is_the_same_in_a_bucket_and_in_a_folder(url: str, tmp_path: Path) -> None:
    """Committed, compacted and merged rows equal those of a run in a folder, and are found again by the next driver."""
    make_run(tmp_path / "run", replicate_batches(3))
    store = new_run(url, 3)

    before = diff_runs(url, tmp_path / "run")
    compact(store)
    merged = merge_runs(url, tmp_path / "run", f"{url}-merged")

    assert before.identical
    assert diff_runs(url, tmp_path / "run").identical
    assert diff_runs(merged.name, tmp_path / "run").identical
    assert RunStore(url).finished_cells() == RunStore(tmp_path / "run").finished_cells()
    assert [one for run in (store, merged) for one in check_run(run).findings] == []


def test_nothing_counts_before_the_commit(url: str) -> None:
    """A part has its place at once, and counts with its commit; without one it is an orphan that gc removes."""
    store = new_run(url, 1)
    late = write_batch(store, "late", [cell("oracle")])

    names = [part.path for part in late.parts]
    assert store.scan("cells").collect().height == 4
    assert store.orphans() == names
    assert [one.place for one in check_run(store).findings] == names
    assert store.remove_orphans() == names
    assert store.orphans() == []
    with pytest.raises(StoreError, match="Call write_part before commit"):
        store.commit(late)


def test_a_damaged_object_is_named(url: str) -> None:
    """A cut object is named by whoever opens the run; one with other bytes, by whoever is to rewrite it."""
    store = new_run(url, 1)
    check_sound(store, hashed_bytes=math.inf)
    (name,) = store.manifest.files("windows")
    content = store.storage.read(name)

    store.storage.put(name, b"x" + content[1:])
    with pytest.raises(DamageError, match=rf"{url}/{name}: \d+ bytes with hash"):
        check_sound(store, hashed_bytes=math.inf)
    store.storage.put(name, content[:-50])
    with pytest.raises(DamageError, match=rf"{url}/{name}: \d+ bytes; the manifest says {len(content)}"):
        check_sound(store)


def test_of_two_commits_one_wins(url: str) -> None:
    """Eight writers at once with eight contents under one name: one commit stands, seven are told."""
    store = new_run(url, 0)
    entries = [write_batch(store, "b", [cell(f"policy-{n}")]) for n in range(8)]

    def commit(index: int) -> bool:
        try:
            RunStore(url).commit(entries[index])
        except StoreError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(commit, range(8)))

    assert sum(won) == 1
    assert store.scan("cells").collect()["policy"].to_list() == [f"policy-{won.index(True)}"]


def test_one_driver_at_a_time(url: str) -> None:
    """A held lease refuses the second driver and names the first; after it is given back anybody may have it."""
    first, second = open_storage(url), open_storage(url)

    with (
        first.lock({"host": "here"}),
        pytest.raises(StoreError, match=r"is writing here \(host here; it gave a sign \d+ s ago\).*--break-lock"),
        second.lock({"host": "there"}),
    ):
        pass
    with second.lock({"host": "there"}):
        second.check_lock()

    assert not first.exists(LEASE_FILE)


def test_who_lost_the_lease_stops(url: str) -> None:
    """A lease that was broken is noticed by its former holder, which compacts and removes nothing any more."""
    store, other = new_run(url, 2), open_storage(url)

    with store.storage.lock({"host": "here"}), other.lock({"host": "there"}, breaking=True):
        for act in (lambda: compact(store), store.remove_orphans, store.manifest.finish):
            with pytest.raises(StoreError, match="another driver has taken over this run"):
                act()
        other.check_lock()

    assert len(store.manifest.live()) == 2


def test_a_stale_lease_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that gave no sign for long enough counts as dead."""
    first, second = open_storage(url), open_storage(url)
    monkeypatch.setattr(storage_lease, "STALE_SECONDS", -10.0)

    with (
        first.lock({"host": "here"}),
        second.lock({"host": "there"}),
        pytest.raises(StoreError, match="has taken over"),
    ):
        first.check_lock()


def hold_and_die(url: str) -> None:
    """Take the lease, and be killed."""
    with open_storage(url).lock({"host": "here"}):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_lease_of_a_dead_process_is_taken_at_once(url: str) -> None:
    """A driver that was killed on this machine does not make the next one wait."""
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(url,))
    process.start()
    process.join()
    storage = open_storage(url)

    assert process.exitcode == -signal.SIGKILL
    assert storage.exists(LEASE_FILE)
    with storage.lock({"host": "there"}):
        storage.check_lock()


def test_a_holder_keeps_giving_signs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is renewed in the background while it is held."""
    monkeypatch.setattr(storage_lease, "RENEW_SECONDS", 0.01)
    storage = open_storage(url)

    with storage.lock({"host": "here"}):
        while json.loads(storage.read(LEASE_FILE))["renewals"] < 2:
            pass

    assert not storage.exists(LEASE_FILE)


def test_other_programs_read_what_latest_lists(url: str, server: dict[str, str]) -> None:
    """Polars reads the URLs, and DuckDB and pyarrow the files, that latest.json lists, and see our table."""
    store = new_run(url, 3)
    compact(store)
    latest = json.loads(objects(server, url)[LATEST_FILE])
    files = latest["files"]["cells"]
    ours = store.scan("cells").collect().sort("cell_id")

    by_polars = pl.read_parquet([f"{url}/{file}" for file in files])
    dataset = ds.dataset([f"{url.removeprefix('s3://')}/{file}" for file in files], filesystem=arrow_files(server))
    by_duckdb = duckdb.from_arrow(dataset).order("cell_id").pl()

    assert latest["schema_version"] == store.manifest.live()[0].schema_version
    assert by_polars.sort("cell_id").equals(ours)
    assert by_duckdb.equals(ours)
    assert pl.DataFrame(dataset.to_table()).sort("cell_id").equals(ours)


def test_credentials_are_nowhere_in_a_run(url: str, server: dict[str, str]) -> None:
    """No object of a run holds the key or the secret of who wrote it, the lease included."""
    store = new_run(url, 2)
    compact(store)
    with store.storage.lock({"host": "here"}):
        found = objects(server, url)

    assert {"spec.json", "provenance.json", LATEST_FILE, LEASE_FILE} <= found.keys()
    assert [name for name, content in found.items() for word in (KEY, SECRET) if word.encode() in content] == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://me:hunter2secret@sweeps/run", "has no user, password or query"),
        ("s3://sweeps/run?AWSAccessKeyId=hunter2secret", "has no user, password or query"),
        ("ftp://sweeps/run", "unknown scheme 'ftp'"),
        ("s3://sweeps", "no folder of a bucket"),
        ("s3://sweeps/../other", "no folder of a bucket"),
    ],
)
def test_urls_that_name_no_run_are_refused(location: str, words: str) -> None:
    """What is wrong with a URL is said, and a password in it is not repeated."""
    with pytest.raises(StoreError) as refused:
        RunStore(location)

    assert words in str(refused.value)
    assert "hunter2secret" not in str(refused.value)


def test_a_bucket_that_is_not_there_is_named(url: str) -> None:
    """The message has the place, the store's word for it, and where to look; no secret is in it."""
    with pytest.raises(
        StoreError, match=r"s3://nowhere/run/manifest: NoSuchBucket .*use-an-object-store\.md"
    ) as refused:
        RunStore("s3://nowhere/run").create(SPEC, PROVENANCE)

    assert url
    assert SECRET not in str(refused.value)


def test_an_object_is_read_in_pieces(url: str) -> None:
    """Ranges of an object are its bytes; what is not there is a FileNotFoundError, as in a folder."""
    storage: Any = open_storage(url)
    storage.put("x", bytes(range(100)))

    with storage.open("x") as stream:
        stream.seek(90)
        tail = stream.read()

    assert isinstance(storage, ObjectStorage)
    assert (tail, storage.size("x")) == (bytes(range(90, 100)), 100)
    for act in (storage.read, storage.size, storage.open):
        with pytest.raises(FileNotFoundError):
            act("y")
    storage.delete("y")


def test_a_lost_commit_is_no_crash(url: str) -> None:
    """What `latest.json` lists was committed, so without a commit it is damage; what it does not list is a leftover."""
    store = new_run(url, 2)
    compact(store)
    left = write_batch(store, "late", [cell("oracle")])
    check_sound(store)
    (entry,) = store.manifest.live()
    store.storage.delete(f"manifest/{entry.name}.json")

    findings = check_run(store).findings
    with pytest.raises(DamageError, match="no commit names this file"):
        store.remove_orphans()

    assert {one.place for one in findings if one.level is Level.DAMAGE} == {part.path for part in entry.parts}
    assert {one.place for one in findings if one.level is Level.LEFTOVER} == {part.path for part in left.parts}
    assert all(store.storage.exists(part.path) for part in (*entry.parts, *left.parts))


@pytest.mark.parametrize("name", ["spec.json", "provenance.json"])
def test_a_run_that_lost_a_file_is_not_begun_anew(url: str, name: str) -> None:
    """Rows in a bucket without what says where they are from are damage, and nothing is written over them."""
    store = new_run(url, 1)
    store.storage.delete(name)

    with pytest.raises(DamageError, match=f"{name}: missing, and the run has rows"):
        store.create(SPEC, PROVENANCE)

    assert not store.storage.exists(name)
