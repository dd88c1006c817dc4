"""Who may drive a run in an object store: a lease, which is an object that its holder keeps renewing.

The lease keeps two drivers from doing the same work and from compacting at once. No row depends on it: a commit is
put-if-absent whoever holds what. It is taken by put-if-absent, renewed and taken over by a put that names the version
which it replaces, and its age is told by the store's clock, so the clocks of machines don't matter.
"""

import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from results.store.storage import StoreError, UnreachableError, VersionedStorage

LEASE_FILE: Final = "lease.json"
RENEW_SECONDS: Final = 20.0
STALE_SECONDS: Final = 120.0
"""Without a renewal for so long a holder counts as dead: six were missed in a row."""
_TRIES: Final = 10
"""How often a lease that changes hands meanwhile is looked at again."""
_LAST_SECONDS: Final = 5.0
"""How long the end waits for a renewal that is under way (assumption): the store may be gone."""


class Lease:
    """One process' claim on a run."""

    def __init__(self, storage: VersionedStorage, holder: Mapping[str, str]) -> None:
        self._storage = storage
        self._token = secrets.token_hex(8)
        self._facts: dict[str, Any] = {"holder": dict(holder), "machine": _machine(), "pid": os.getpid()}
        self._renewals = 0

    @contextmanager
    def held(self, *, breaking: bool = False) -> Iterator[None]:
        """Hold the lease, renewing it in the background; give it back at the end.

        Raises:
            StoreError: somebody else holds it.
        """
        self._take(breaking=breaking)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(done,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join(_LAST_SECONDS)
            # Out of reach, the lease goes stale by itself; what ended the work must not be hidden by that.
            with suppress(UnreachableError):
                if self.is_ours():
                    self._storage.delete(LEASE_FILE)

    def is_ours(self) -> bool:
        """Say whether the lease is still this process'."""
        try:
            found = _parsed(self._storage.read(LEASE_FILE))
        except FileNotFoundError:
            return False
        return found.get("token") == self._token

    def _take(self, *, breaking: bool) -> None:
        for _ in range(_TRIES):
            if self._storage.put_if_absent(LEASE_FILE, self._content()):
                return
            try:
                content, version, written = self._storage.version(LEASE_FILE)
                age = self._storage.now() - written
            except FileNotFoundError:
                continue
            found = _parsed(content)
            if found.get("token") == self._token:
                # The store had taken our put, and its answer was lost.
                return
            if not (breaking or age > STALE_SECONDS or _is_dead_here(found)):
                raise StoreError(self._refusal(found, age))
            if self._storage.put_over(LEASE_FILE, self._content(), version):
                return
        raise StoreError(f"{self._storage.locate(LEASE_FILE)}: the lease keeps changing hands. Start again later")

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(RENEW_SECONDS):
            try:
                content, version, _ = self._storage.version(LEASE_FILE)
                if _parsed(content).get("token") != self._token:
                    return
                self._renewals += 1
                self._storage.put_over(LEASE_FILE, self._content(), version)
            except FileNotFoundError:
                return
            except StoreError:
                # The store is out of reach: the next renewal may reach it, and if none does the lease is lost.
                continue

    def _content(self) -> bytes:
        facts = {**self._facts, "token": self._token, "renewals": self._renewals}
        return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()

    def _refusal(self, found: Mapping[str, Any], age: float) -> str:
        holder = found.get("holder")
        who = ", ".join(f"{k} {v}" for k, v in holder.items()) if isinstance(holder, dict) else "somebody unknown"
        return (
            f"{self._storage.name}: another `sweep run` is writing here ({who}; it gave a sign {age:.0f} s ago). Wait "
            f"for it, or give --out. If it is dead: after {STALE_SECONDS:.0f} s without a sign the same command goes "
            "on, or at once with --break-lock"
        )


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead_here(found: Mapping[str, Any]) -> bool:
    """Say whether the holder was a process of this very machine, and is no more."""
    pid = found.get("pid")
    if not isinstance(pid, int) or pid <= 0 or pid == os.getpid() or found.get("machine") != _machine():
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _machine() -> str:
    """Name this boot of this machine, and the table of processes that is seen from here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return secrets.token_hex(8)
