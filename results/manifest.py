"""The manifest: one small file per commit that says which parts count. Creating that file is the commit."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from results.parts import Part, sync_directory, write_text_if_absent
from results.schema import SCHEMA_VERSION, SchemaError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PLACING_SECONDS: Final = 0.02
"""How long a reader waits for a commit that is just now moving its files; a commit takes under a millisecond."""


class StoreError(Exception):
    """A run's folder is not what the manifest says, or two writers disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One commit: the parts that it adds, and the entries (name -> hash) that it takes the place of."""

    name: str
    parts: tuple[Part, ...]
    replaces: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise StoreError(f"batch '{self.name}': a name has 1 to 128 of A-Z a-z 0-9 . _ - and starts with no sign")

    def text(self) -> str:
        """Return the entry as it stands in its file; the same parts give the same text."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True, indent=1) + "\n"

    def digest(self) -> str:
        """Return the hash of the entry: names are reused when a grid grows, contents are not."""
        return hashlib.sha256(self.text().encode()).hexdigest()


class Manifest:
    """The commits of one run. Holds no state: the folder is the truth, whoever else writes there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "manifest"
        self.staging = root / ".tmp"

    def add(self, entry: ManifestEntry) -> bool:
        """Commit `entry`; return False if the same entry is committed already.

        Raises:
            StoreError: another entry of that name is committed.
        """
        path = self.folder / f"{entry.name}.json"
        if write_text_if_absent(path, entry.text(), self.staging):
            return True
        found = read_entry(path)
        if found != entry:
            raise StoreError(
                f"{path}: batch '{entry.name}' is committed with other contents ({_hashes(found)}) than these "
                f"({_hashes(entry)}). The same batch must give the same bytes: remove the run's folder and run again",
            )
        return False

    def committed(self) -> list[ManifestEntry]:
        """Return every entry on disk, those that another one replaces included, by name."""
        entries = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                entries.append(read_entry(path))
            except FileNotFoundError:
                # A compaction removes entries after its own is committed: look again, its own is there now.
                return self.committed()
        return entries

    def live(self) -> list[ManifestEntry]:
        """Return the entries that count."""
        entries = self.committed()
        hidden = {pair for entry in entries for pair in entry.replaces.items()}
        return [entry for entry in entries if (entry.name, entry.digest()) not in hidden]

    def place(self, part: Part) -> Path:
        """Return where a committed part is at last."""
        return self.root / part.table / part.name

    def find(self, part: Part) -> Path:
        """Return where a committed part is now: in place, or still staged if a driver died while committing.

        Raises:
            StoreError: the part is in neither place.
        """
        placed, staged = self.place(part), self.staging / f"{part.table}.{part.name}"
        if placed.exists():
            return placed
        time.sleep(_PLACING_SECONDS)
        for path in (placed, staged):
            if path.exists():
                return path
        raise StoreError(f"{placed}: the manifest lists this file, and it is missing. Restore it, or remove the run")

    def paths(self, table: str) -> list[Path]:
        """Return the files of `table` that count."""
        return [self.find(part) for part in self.parts(table)]

    def parts(self, table: str) -> Iterator[Part]:
        """Yield the parts of `table` that count."""
        return (part for entry in self.live() for part in entry.parts if part.table == table)

    def finish(self) -> None:
        """Carry out what committed entries still owe: remove what they replace, move their files into place."""
        entries = self.committed()
        live = self.live()
        kept = {self.place(part) for entry in live for part in entry.parts}
        live_names = {entry.name for entry in live}
        hidden = [entry for entry in entries if entry.name not in live_names]
        # Old files go before new ones come: a reader that globs may miss cells, but meets none twice.
        for entry in hidden:
            for part in entry.parts:
                if self.place(part) not in kept:
                    self.place(part).unlink(missing_ok=True)
        for entry in live:
            self.put_in_place(entry)
        for entry in hidden:
            (self.folder / f"{entry.name}.json").unlink(missing_ok=True)
        if hidden:
            sync_directory(self.folder)

    def put_in_place(self, entry: ManifestEntry) -> None:
        """Move the entry's staged files to where plain globs see them: cells last, so that none lacks its windows."""
        for part in sorted(entry.parts, key=lambda part: part.table == "cells"):
            staged, placed = self.staging / f"{part.table}.{part.name}", self.place(part)
            if staged.exists():
                staged.replace(placed)
                sync_directory(placed.parent)
            elif not placed.exists():
                raise StoreError(f"{staged}: batch '{entry.name}' has no such file. Write the part before its commit")


def read_entry(path: Path) -> ManifestEntry:
    """Read one commit.

    Raises:
        SchemaError: another version of the program wrote it.
        StoreError: it is no manifest entry.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        parts = tuple(Part(**part) for part in fields.pop("parts"))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: no manifest entry ({error}). Entries appear whole: something else wrote it"
        ) from error
    if version != SCHEMA_VERSION:
        raise SchemaError(f"{path}: schema version {version}, but this program reads version {SCHEMA_VERSION}")
    return ManifestEntry(parts=parts, **fields)


def _hashes(entry: ManifestEntry) -> str:
    return ", ".join(f"{part.table} {part.sha256[:12]}" for part in entry.parts)
