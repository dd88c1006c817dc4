"""Tries on the place of a run what commits stand on: that all see it, that files appear whole, that one writer wins."""

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sweep.cluster.checks import Check, judged

if TYPE_CHECKING:
    from results.store.storage import Storage

_DRIVER: Final = "driver"
_CLAIM: Final = "claim"
_OVERWRITES: Final = 20
"""How often a file is replaced while it is read: each is a sync of the disk or a request."""
_BYTES: Final = 1 << 14
"""Size of that file: more than one page and than one packet, so that a half of it could be seen."""
_ADVICE: Final = "give --out a folder on a file system that all nodes mount at the same path, or an object store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one node found at the place of the run. `error` is empty unless it could not try at all."""

    node: str
    error: str = ""
    sees_driver: bool = False
    whole: bool = False
    """A file that is replaced was never seen half."""
    keeps_first: bool = False
    """Creating a file that exists failed, and changed nothing."""
    won: bool = False
    """This node was the first to create the file that all nodes tried to create."""


@contextmanager
def probe_folder(run: str) -> Iterator[str]:
    """Yield a place inside `run` where probes can write; nothing of it is left, nor of `run` if it was not there."""
    from results.store.opening import is_url, open_storage

    place = f"{run.rstrip('/')}/.doctor-{secrets.token_hex(6)}"
    made = [] if is_url(run) else [path for path in (Path(run), *Path(run).parents) if not path.exists()]
    storage = open_storage(place)
    storage.make_folders([""])
    try:
        storage.put(_DRIVER, place.encode())
        yield place
    finally:
        if is_url(run):
            for one in storage.files_in(""):
                storage.delete(one.name)
        else:
            shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):
                for path in made:
                    path.rmdir()


def check_place(run: str, ask: Callable[[str], Sequence[Probe]]) -> list[Check]:
    """Have every node try the run's place and judge what they found; `ask` returns their probes of a folder in it.

    Raises:
        StoreError: `run` is no place for a run, whatever is there.
    """
    from results.store.opening import open_storage
    from results.store.storage import StoreError

    open_storage(run)
    try:
        with probe_folder(run) as place:
            return check_run(run, place, ask(place))
    except (OSError, StoreError) as error:
        found = f"{run}: {getattr(error, 'strerror', None) or error}"
        return [judged("shared run path", "this machine", fits=False, found=found, advice=_ADVICE)]


def probe_run(place: str, node: str) -> Probe:
    """Try the place from this machine; whatever goes wrong is told, not raised."""
    from results.store.opening import open_storage
    from results.store.storage import StoreError

    try:
        storage = open_storage(place)
        try:
            sees_driver = storage.read(_DRIVER) == place.encode()
        except FileNotFoundError:
            return Probe(node=node, error="does not see what the driver wrote there")
        storage.put(f"node-{node}", node.encode())
        return Probe(
            node=node,
            sees_driver=sees_driver,
            whole=_is_replaced_whole(storage, f"rename-{node}"),
            keeps_first=_keeps_first(storage, f"first-{node}"),
            won=storage.put_if_absent(_CLAIM, node.encode()),
        )
    except (OSError, StoreError) as error:
        return Probe(node=node, error=f"{type(error).__name__}: {error}")


def check_run(run: str, place: str, probes: Sequence[Probe]) -> list[Check]:
    """Judge what the nodes found, and whether the driver sees what they wrote."""
    from results.store.opening import open_storage

    storage = open_storage(place)
    checks = []
    for probe in probes:
        written = f"node-{probe.node}"
        problem = probe.error
        if not problem and not (probe.sees_driver and storage.exists(written)):
            problem = "writes where the driver does not look"
        found = problem or f"{run}: seen and written by both"
        checks.append(judged("shared run path", probe.node, fits=not problem, found=found, advice=_ADVICE))
        if not probe.error:
            whole = "files are replaced whole" if probe.whole else "a reader saw half a file"
            checks.append(judged("atomic rename", probe.node, fits=probe.whole, found=whole, advice=_ADVICE))
    winners = [probe.node for probe in probes if probe.won]
    tried = [probe for probe in probes if not probe.error]
    one = len(winners) == 1 and storage.read(_CLAIM) == winners[0].encode()
    keeps = all(probe.keeps_first for probe in tried)
    if tried:
        found = f"{len(tried)} tried, {', '.join(winners) or 'none'} won" + (
            "" if keeps else "; a file was overwritten"
        )
        advice = "this file system does not keep two drivers apart; use another one, or an object store"
        checks.append(judged("put-if-absent", "all nodes", fits=one and keeps, found=found, advice=advice))
    return checks


def _is_replaced_whole(storage: "Storage", name: str) -> bool:
    """Replace a file again and again and read it meanwhile; every reading must be one of the two contents."""
    contents = (b"a" * _BYTES, b"b" * (2 * _BYTES))
    storage.put(name, contents[0])
    halves: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = storage.read(name)
            except OSError:
                found = b""
            if found not in contents:
                halves.append(len(found))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for turn in range(_OVERWRITES):
        storage.put(name, contents[turn % 2])
    done.set()
    reader.join()
    return not halves


def _keeps_first(storage: "Storage", name: str) -> bool:
    first = storage.put_if_absent(name, b"first")
    second = storage.put_if_absent(name, b"second")
    return first and not second and storage.read(name) == b"first"
