"""The guest model against a recording: what each known program stored where, and what became of its tables.

Both sides are counted in the same words, so that they can be compared line by line: stores to page-table pages by
level, instruction and width (a `rep` counts once; a page that is no table any more has the level that it had last),
tables allocated and freed, how long a freed frame rests until it is cleared for its next use, CR3 loads, INVLPGs and
page faults.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl

from engine.core.guest.model import GuestModel
from engine.events import Events
from engine.guests import Guest
from engine.vocabulary import Access, Activity, Event, Instruction, Operation
from sweep.validate.programs import CHILD, PAGE, PROGRAMS, Script, end_child, fork_child, set_up

CLOSE: Final = 0.05
"""Largest relative difference that counts as faithful."""
COUNTS_MAX: Final = 2
"""Difference that is always allowed: half of one start or end of a program."""
FIRST_FORK: Final = "fork_exit"
"""The program of which the recorded parent had not forked yet: its first fork write-protects more."""
_OTHERS: Final = {"cr3": "CR3", "invlpg": "INVLPG", "guest_fault": "GUEST_FAULT"}
_MODEL: Final = {"max_processes": 64, "chunk_events": 1 << 15}
_WINDOW_NS: Final = 10_000_000


@dataclass(slots=True)
class Census:
    """Counts by name, and the guest faults between the death of a table and the next clear of its frame."""

    counts: Counter[str] = field(default_factory=Counter)
    rests: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return all figures under their names."""
        found: dict[str, float] = dict(self.counts)
        found["frames used again"] = len(self.rests)
        if self.rests:
            found["rest, median faults"] = float(median(self.rests))
        return found


def check_guest(path: Path, guest: Guest) -> dict[str, Any]:
    """Compare the guest model with a recording without hypervisor, program by program."""
    rows = _read(path)
    names = rows.filter(pl.col("kind") == "marker_start")["workload"].to_list()
    known = [name for name in names if name in PROGRAMS]
    return {
        "programs": {name: _compare(recorded_census(rows, name), modelled_census(name, guest)) for name in known},
        "skipped": [name for name in names if name not in PROGRAMS],
    }


def _compare(recorded: Census, modelled: Census) -> list[dict[str, Any]]:
    real, ours = recorded.figures(), modelled.figures()
    rows = []
    for name in sorted(set(real) | set(ours), key=_order):
        left, right = real.get(name, 0), ours.get(name, 0)
        close = abs(right - left) <= max(CLOSE * left, COUNTS_MAX)
        cause = "" if close else why(name)
        rows.append({"what": name, "recorded": left, "modelled": right, "close": close, "why": cause})
    return rows


def _order(name: str) -> tuple[int, str]:
    groups = ("live", "dead", "tables", "frames", "rest")
    return next((i for i, group in enumerate(groups) if name.startswith(group)), len(groups)), name


def why(name: str) -> str:
    """Say why a figure may differ, as far as the recordings' function names and order tell."""
    if name.startswith("dead") and "rep_stos" not in name:
        return "kernel objects (credentials, maple-tree nodes, security labels) on former tables: the model has no slab"
    if name.startswith(("dead", "frames", "rest")):
        return (
            "munmap lists what it frees on pages of its own (mmu_gather), which take former tables from the free list, "
            "are cleared, and come back on top of it; slab takes others. Neither is modelled"
        )
    if "lock_and" in name:
        return "pages that the recorded parent wrote between its programs: the script has those of one fork"
    return "not known"


def _read(path: Path) -> pl.DataFrame:
    columns = ["seq", "workload", "kind", "addr", "size", "level", "live", "insn"]
    rows = pl.scan_parquet(path).select(columns)
    rows = rows.with_columns(pl.col("workload", "kind", "insn").cast(pl.String))
    kinds = ["store", "link", "unlink", "cr3", "invlpg", "guest_fault", "marker_start"]
    return rows.filter(pl.col("workload").is_not_null() & pl.col("kind").is_in(kinds)).collect()


def recorded_census(rows: pl.DataFrame, workload: str) -> Census:
    """Count what the recording shows of a workload."""
    here = rows.filter(pl.col("workload") == workload)
    census = Census()
    clear = pl.col("insn") == "rep_stos"
    stores = here.filter((pl.col("kind") == "store") & (~clear | (pl.col("addr") % PAGE == 0)))
    stores = stores.with_columns(live=pl.col("live") & ~clear)
    for live, level, insn, size, count in stores.group_by("live", "level", "insn", "size").len().rows():
        census.counts[store_name(live=live, level=level, insn=insn, width=size)] += count
    tables = here.filter(pl.col("kind").is_in(["link", "unlink"]))
    for kind, level, count in tables.group_by("kind", "level").len().rows():
        census.counts[f"tables {'allocated' if kind == 'link' else 'freed'}, L{level}"] += count
    for kind, count in here.filter(pl.col("kind").is_in(list(_OTHERS))).group_by("kind").len().rows():
        census.counts[_OTHERS[kind]] += count
    census.rests = _rests(here, stores.filter(clear))
    return census


def _rests(here: pl.DataFrame, clears: pl.DataFrame) -> list[int]:
    dead = here.filter(pl.col("kind") == "unlink").select("seq", "addr")
    faults = here.filter(pl.col("kind") == "guest_fault")["seq"].to_numpy()
    again = clears.select("addr", "seq", used=pl.col("seq"))
    pairs = dead.join_asof(again, on="seq", by="addr", strategy="forward", check_sortedness=False).drop_nulls("used")
    pairs = pairs.unique("used", keep="last")
    between = np.searchsorted(faults, pairs["used"].to_numpy()) - np.searchsorted(faults, pairs["seq"].to_numpy())
    return [int(n) for n in between]


def store_name(*, live: bool, level: int, insn: str, width: int) -> str:
    """Return the name of a class of stores."""
    return f"{'live' if live else 'dead'} L{level} {insn} {width}"


def modelled_census(workload: str, guest: Guest) -> Census:
    """Run a program on the guest model and count the same."""
    model = GuestModel(guest, seed=1, window_ns=_WINDOW_NS, parameters=_MODEL)
    for _ in model.start():
        pass
    script, counting = Script(), _Counting(model)
    set_up(script)
    if workload != FIRST_FORK:
        fork_child(script, CHILD - 1)
        end_child(script, CHILD - 1)
    counting.run(script)
    counting.census = Census()
    PROGRAMS[workload](script)
    counting.run(script)
    return counting.census


class _Counting:
    """A guest model whose events are counted as they come."""

    def __init__(self, model: GuestModel) -> None:
        self.census = Census()
        self._model = model
        self._levels = model.state.frames["level"].copy()
        self._listed = self._levels > 0
        """As the recorder: stores to a dead table's page are listed until it is cleared for its next use."""
        self._tables: dict[int, int] = {}
        self._dead_since: dict[int, int] = {}
        self._faults = 0

    def run(self, script: Script) -> None:
        """Carry out operations: page faults together, because they free no table, all others one by one."""
        operations = script.take()
        other = operations["kind"] != int(Operation.FAULT)
        cuts = np.flatnonzero(other | np.append(False, other[:-1]))
        for part in np.split(operations, cuts):
            if len(part):
                self._tables = self._tables_now()
                for chunks in (self._model.feed(part), self._model.finish()):
                    self._count(chunks)
                now = self._tables_now()
                for gfn in [gfn for gfn in self._tables if gfn not in now]:
                    self._bury(gfn)

    def _tables_now(self) -> dict[int, int]:
        frames = self._model.state.frames
        found = np.flatnonzero(frames["contents"])
        return dict(zip(found.tolist(), frames["level"][found].tolist(), strict=True))

    def _bury(self, gfn: int) -> None:
        """Note that a table died."""
        self.census.counts[f"tables freed, L{self._tables.pop(gfn)}"] += 1
        self._dead_since[gfn] = self._faults
        self._listed[gfn] = True

    def _count(self, chunks: Iterable[Events]) -> None:
        for chunk in chunks:
            clears = np.flatnonzero((chunk["insn"] == int(Instruction.REP_STOS)) & (chunk["kind"] == int(Event.STORE)))
            start = 0
            for clear in clears.tolist():
                self._count_plain(chunk[start:clear])
                self._count_clear(chunk[clear])
                start = clear + 1
            self._count_plain(chunk[start:])

    def _count_plain(self, events: Events) -> None:
        stores = events[events["kind"] == int(Event.STORE)]
        gfn, live = stores["address"] >> 12, (stores["access"] & int(Access.LIVE)) > 0
        keys = np.stack([live, self._levels[gfn], stores["insn"], stores["width"]], axis=1)[live | self._listed[gfn]]
        for (alive, level, insn, width), count in zip(*np.unique(keys, axis=0, return_counts=True), strict=True):
            name = Instruction(int(insn)).name.lower()
            name = store_name(live=bool(alive), level=int(level), insn=name, width=int(width))
            self.census.counts[name] += int(count)
        for kind in (Event.CR3, Event.INVLPG, Event.GUEST_FAULT):
            count = int((events["kind"] == int(kind)).sum())
            self.census.counts[kind.name] += count
            self._faults += count if kind is Event.GUEST_FAULT else 0

    def _count_clear(self, event: Any) -> None:
        gfn = int(event["address"]) >> 12
        if gfn in self._tables:
            self._bury(gfn)
        if self._listed[gfn]:
            name = store_name(live=False, level=int(self._levels[gfn]), insn="rep_stos", width=int(event["width"]))
            self.census.counts[name] += 1
            self._listed[gfn] = False
        if gfn in self._dead_since:
            self.census.rests.append(self._faults - self._dead_since.pop(gfn))
        if int(event["activity"]) != int(Activity.PAGE_REUSE):
            self._levels[gfn] = self._model.state.frames["level"][gfn]
            self.census.counts[f"tables allocated, L{self._levels[gfn]}"] += 1
