"""Is a run fit to be read? What every reader asks first, so that a damaged file is named and never believed.

`results.upkeep.fsck` looks at everything; this looks at as much as nobody waits for.
"""

import hashlib
import time
from collections.abc import Collection
from typing import Final

from results.store.engines import check_told_apart
from results.store.lost import check_begun, check_commits
from results.store.manifest import PLACING_SECONDS
from results.store.parts import PART_TABLES, Part
from results.store.run_store import RunStore
from results.store.storage import STAGING, DamageError

HASHED_BYTES: Final = 64 * 2**20
"""A run in a folder up to this size is hashed whole when it is opened, in about 0.1 s; of others sizes are compared."""
RESTORE: Final = "restore the file from a copy, or remove the run and run the sweep again"
MISSING: Final = "the manifest lists this file, and it is missing"


def check_sound(store: RunStore, *, tables: Collection[str] = PART_TABLES, hashed_bytes: float | None = None) -> None:
    """Do nothing if every part of a run has the size that its commit says, and the hash too while parts are few bytes.

    No commit was lost, nor what says where the rows are from, and rows that are read together are of one engine.
    `hashed_bytes` stands for `HASHED_BYTES`: with infinity all parts are hashed, as must be before they are rewritten.

    Raises:
        DamageError: it is not so; the message names the first file.
    """
    check_begun(store.storage)
    check_told_apart(store)
    limit = hashed_bytes
    if limit is None:
        # An object store checks by itself that it gives back what it got, and each answer of it takes a while.
        limit = HASHED_BYTES if store.storage.stages else 0
    found, unnamed = _damaged(store, tables, limit)
    if found:
        # A driver may just have moved or replaced files that this has listed: what it commits is whole a moment later.
        time.sleep(PLACING_SECONDS)
        found, unnamed = _damaged(store, tables, limit)
    if found:
        name, what = next(iter(found.items()))
        others = f" (and {len(found) - 1} more files)" if len(found) > 1 else ""
        raise DamageError(f"{store.storage.locate(name)}: {what}{others}\n  {RESTORE}")
    check_commits(store.manifest, unnamed)


def _damaged(store: RunStore, tables: Collection[str], limit: float) -> tuple[dict[str, str], list[str]]:
    """Return the name of each damaged file and what is wrong with it, and the files that no commit names."""
    parts = [part for entry in store.manifest.live() for part in entry.parts if part.table in tables]
    # Where parts are staged is listed first: one that is moved meanwhile is seen twice, not never.
    folders = (STAGING, *tables) if store.storage.stages else tuple(tables)
    sizes = {listed.name: listed.bytes for folder in folders for listed in store.storage.files_in(folder)}
    damaged: dict[str, str] = {}
    whole: dict[str, Part] = {}
    for part in parts:
        name = next((one for one in (part.path, store.manifest.staged(part)) if one in sizes), None)
        if name is None:
            damaged[part.path] = MISSING
        elif sizes[name] != part.bytes:
            damaged[name] = f"{sizes[name]} bytes; the manifest says {part.bytes}"
        else:
            whole[name] = part
    if sum(part.bytes for part in parts) <= limit:
        problems = store.storage.each(lambda name: _other_bytes(store, name, whole[name]), list(whole))
        damaged |= {name: problem for name, problem in zip(whole, problems, strict=True) if problem}
    known = {name for part in parts for name in (part.path, store.manifest.staged(part))}
    return damaged, [name for name in sizes if name not in known]


def _other_bytes(store: RunStore, name: str, part: Part) -> str:
    try:
        return other_bytes(part, store.storage.read(name))
    except FileNotFoundError:
        return MISSING


def other_bytes(part: Part, content: bytes) -> str:
    """Return how the content of a file differs from what its commit says; nothing if it does not."""
    sha256 = hashlib.sha256(content).hexdigest()
    if (len(content), sha256) == (part.bytes, part.sha256):
        return ""
    return f"{len(content)} bytes with hash {sha256[:12]}; the manifest says {part.bytes} with {part.sha256[:12]}"
