"""Readers of a run that is being written: whole batches at any moment, and no sound file taken for a damaged one."""

import multiprocessing
from pathlib import Path
from typing import Final

from results.store.run_store import RunStore
from results.store.soundness import check_sound
from results.store.storage import DamageError
from results.upkeep.compaction import compact
from tests.support.crashing import CELLS
from tests.support.synthetic import PROVENANCE, SPEC, replicate_batches, write_batch

BATCHES: Final = 40
COMPACTED_EVERY: Final = 4


def write(location: Path) -> None:
    """Commit batch after batch, and compact again and again."""
    store = RunStore(location)
    store.create(SPEC, PROVENANCE)
    for number, (name, cells) in enumerate(replicate_batches(BATCHES)):
        store.commit(write_batch(store, name, cells))
        if number % COMPACTED_EVERY == 0:
            compact(store)


def test_readers_of_a_run_that_grows_see_whole_batches(tmp_path: Path) -> None:
    """While a driver commits and compacts, a run is never taken for damaged, and shows the first batches, whole."""
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(tmp_path / "run",))
    writer.start()
    store = RunStore(tmp_path / "run")
    seen = [0]
    while writer.is_alive():
        seen += batches_of(store)
    writer.join()
    seen += batches_of(store)

    assert writer.exitcode == 0
    assert seen == sorted(seen)
    assert seen[-1] == BATCHES
    assert len(set(seen)) > 2


def batches_of(store: RunStore) -> list[int]:
    """Return how many batches a reader sees, if it sees any; they must be the first ones, and the run a sound one."""
    if not store.exists():
        return []
    check_sound(store)
    try:
        replicates = store.scan("cells").select("replicate").collect()["replicate"].sort().to_list()
    except (DamageError, FileNotFoundError):
        return []  # A compaction has taken a file that was listed: the documented answer is to look again.
    batches = len(replicates) // CELLS
    assert replicates == [number for number in range(batches) for _ in range(CELLS)]
    return [batches]
