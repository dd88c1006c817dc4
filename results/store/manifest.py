"""The manifest: one small file per commit that says which parts count. Creating that file is the commit."""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from results.store.parts import PART_TABLES, Part
from results.store.schema import SCHEMA_VERSION, SchemaError, check_version
from results.store.storage import STAGING, DamageError, Storage, StoreError

LATEST_FILE: Final = "latest.json"
"""The files that count, for programs that don't know the manifest; see docs/how-to/read-results.md."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
PLACING_SECONDS: Final = 0.02
"""How long a reader waits for a commit that is just now moving its files; a commit takes under a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One commit: the parts that it adds, and the entries (name -> hash) that it takes the place of."""

    name: str
    parts: tuple[Part, ...]
    replaces: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    """That of the parts; an entry of an older version keeps it, and so its hash."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise StoreError(f"batch '{self.name}': a name has 1 to 128 of A-Z a-z 0-9 . _ - and starts with no sign")
        if not all(isinstance(text, str) for pair in self.replaces.items() for text in pair):
            raise StoreError(f"batch '{self.name}': it replaces something that is no entry")

    def text(self) -> str:
        """Return the entry as it stands in its file; the same parts give the same text."""
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    def digest(self) -> str:
        """Return the hash of the entry: names are reused when a grid grows, contents are not."""
        return hashlib.sha256(self.text().encode()).hexdigest()


class Manifest:
    """The commits of one run. Holds no state: the run's files are the truth, whoever else writes there."""

    folder: Final = "manifest"

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def add(self, entry: ManifestEntry) -> bool:
        """Commit `entry`; return False if the same entry is committed already.

        Raises:
            StoreError: another entry of that name is committed.
        """
        if entry.replaces:
            # Two compactions at once would hold the same cells: that is what the driver's lock is for.
            self.storage.check_lock()
        name = f"{self.folder}/{entry.name}.json"
        if self.storage.put_if_absent(name, entry.text().encode()):
            return True
        found = read_entry(self.storage, name)
        if found != entry:
            raise StoreError(
                f"{self.storage.locate(name)}: batch '{entry.name}' is committed with other contents "
                f"({_hashes(found)}) than these ({_hashes(entry)}). The same batch must give the same bytes: remove "
                "the run and run again"
            )
        return False

    def committed(self) -> list[ManifestEntry]:
        """Return every entry that is there, those that another one replaces included, by name."""
        names = [listed.name for listed in self.storage.files_in(self.folder) if listed.name.endswith(".json")]
        try:
            return self.storage.each(lambda name: read_entry(self.storage, name), names)
        except FileNotFoundError:
            # A compaction removes entries after its own is committed: look again, its own is there now.
            return self.committed()

    def live(self) -> list[ManifestEntry]:
        """Return the entries that count."""
        return without_hidden(self.committed())

    def find(self, part: Part) -> str:
        """Return where in the run a committed part is now: in place, or staged if a driver died while committing.

        Raises:
            DamageError: the part is in neither place.
        """
        if not self.storage.stages or self.storage.exists(part.path):
            return part.path
        time.sleep(PLACING_SECONDS)
        for name in (part.path, self.staged(part)):
            if self.storage.exists(name):
                return name
        raise DamageError(
            f"{self.storage.locate(part.path)}: the manifest lists this file, and it is missing. Restore it, or remove "
            "the run"
        )

    def staged(self, part: Part) -> str:
        """Return where in the run a part waits for its commit: beside the tables, or where they have it at last."""
        return f"{STAGING}/{part.table}.{part.name}" if self.storage.stages else part.path

    def files(self, table: str) -> list[str]:
        """Return the files of `table` that count, by their names in the run."""
        return [self.find(part) for part in self.parts(table)]

    def parts(self, table: str) -> list[Part]:
        """Return the parts of `table` that count."""
        return [part for entry in self.live() for part in entry.parts if part.table == table]

    def finish(self) -> None:
        """Carry out what committed entries still owe: remove what they replace, move their files into place."""
        self.storage.check_lock()
        entries = self.committed()
        live = without_hidden(entries)
        kept = {part.path for entry in live for part in entry.parts}
        live_names = {entry.name for entry in live}
        hidden = [entry for entry in entries if entry.name not in live_names]
        self.publish(live)
        # Old files go before new ones come: a reader that globs may miss cells, but meets none twice.
        for entry in hidden:
            for part in sorted(entry.parts, key=lambda part: part.table != "cells"):
                if part.path not in kept:
                    self.storage.delete(part.path)
        for entry in live:
            self.put_in_place(entry)
        for entry in hidden:
            self.storage.delete(f"{self.folder}/{entry.name}.json")

    def publish(self, entries: Sequence[ManifestEntry] | None = None) -> None:
        """Write which files count now, for programs that don't know the manifest; in a folder a glob says so."""
        if self.storage.stages:
            return
        live = self.live() if entries is None else entries
        paths = {table: sorted(p.path for e in live for p in e.parts if p.table == table) for table in PART_TABLES}
        text = json.dumps({"schema_version": SCHEMA_VERSION, "files": paths}, indent=1, sort_keys=True) + "\n"
        self.storage.put(LATEST_FILE, text.encode())

    def put_in_place(self, entry: ManifestEntry) -> None:
        """Move the entry's staged files to where plain globs see them: cells last, so that none lacks its windows."""
        if not self.storage.stages:
            return
        for part in sorted(entry.parts, key=lambda part: part.table == "cells"):
            staged = self.staged(part)
            if self.storage.exists(staged):
                self.storage.move(staged, part.path)
            elif not self.storage.exists(part.path):
                raise StoreError(
                    f"{self.storage.locate(staged)}: batch '{entry.name}' has no such file. Write the part before "
                    "its commit"
                )


def without_hidden(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """Return the entries that none of the others takes the place of."""
    hidden = {pair for entry in entries for pair in entry.replaces.items()}
    names = {name for name, _ in hidden}
    return [entry for entry in entries if entry.name not in names or (entry.name, entry.digest()) not in hidden]


def read_entry(storage: Storage, name: str) -> ManifestEntry:
    """Read one commit of a run.

    Raises:
        SchemaError: another version of the program wrote it.
        DamageError: it is no manifest entry.
    """
    content, path = storage.read(name), storage.locate(name)
    try:
        fields = json.loads(content)
        check_version(path, fields["schema_version"])
        parts = tuple(Part(**part) for part in fields.pop("parts"))
        return ManifestEntry(parts=parts, **fields)
    except SchemaError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamageError(
            f"{path}: no manifest entry ({error}). Entries appear whole: something else wrote it"
        ) from error


def _hashes(entry: ManifestEntry) -> str:
    return ", ".join(f"{part.table} {part.sha256[:12]}" for part in entry.parts)
