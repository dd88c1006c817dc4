"""Adds the accesses that a recording without hypervisor does not show: a process uses again what it used before.

A recorder notes the first access of a page after the page was re-armed. If a policy zaps a shadow page while nothing
re-arms, the process's next accesses fault in reality, and the recording is silent. We assume that after a page fault of
its own a process goes on with user pages that it used last. How many, and which of two forms of "last" holds, is taken
from the same recording where it can see it: between a CR3 load, which re-arms everything, and the next page fault of
the guest. No counter of KVM has a say in it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from engine.events import EVENT
from engine.vocabulary import Access, Event
from sweep.recordings.kvm.pieces import USER_END
from sweep.recordings.kvm.reading import KvmTruth

ROOT_LEVEL: Final = 4
REMEMBERED_MAX: Final = 64
"""Pages that are kept per process (assumption): many more than are used again after one page fault."""
_KINDS_OF_ACCESS: Final = int(Access.READ | Access.WRITE | Access.FETCH)
_SEEN: Final = (int(Event.TOUCH), int(Event.GUEST_FAULT), int(Event.CR3), int(Event.LINK))


class Form(StrEnum):
    """Which pages may come back after a page fault."""

    NONE = "none"
    LAST = "the pages used last"
    USED_AGAIN = "of these, code and what was used more than once"
    """A program that walks through memory does not come back to what it passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetouchFit:
    """Pages used again after a page fault, and what the recording shows of them."""

    pages: int
    """Mean of the intervals, rounded."""
    intervals: int
    median: float
    mean_error: float
    """Mean absolute difference between an interval and `pages`."""
    form: Form
    """The form with the better F1 of `guessed`."""
    guessed: dict[str, tuple[float, float]]
    """Form -> precision and recall, when that form names the pages of each interval."""


class _Processes:
    """The user pages that each process used, latest last."""

    def __init__(self) -> None:
        self._used: dict[int, OrderedDict[int, tuple[int, int, bool]]] = {}
        self.root = 0

    def load(self, cr3: int) -> None:
        """Note which process runs now."""
        self.root = cr3 >> 12

    def forget(self, table: int, level: int) -> None:
        """Note that a page becomes a table; as a root it belongs to a new process."""
        if level == ROOT_LEVEL:
            self._used.pop(table >> 12, None)

    def use(self, address: int, access: int) -> bool:
        """Note an access; True if the page was used before."""
        used = self._used.setdefault(self.root, OrderedDict())
        page = address >> 12
        before = used.pop(page, None)
        used[page] = (address, access | (before[1] if before else 0), before is not None or access == Access.FETCH)
        if len(used) > REMEMBERED_MAX:
            used.popitem(last=False)
        return before is not None

    def last(self, pages: int, *, form: Form, but: int = -1) -> list[tuple[int, int]]:
        """Return address and access of the pages that may come back, the latest first, without that of `but`."""
        used = self._used.get(self.root, OrderedDict())
        any_page = form is Form.LAST
        uses = [use for page, use in reversed(used.items()) if page != but >> 12 and (any_page or use[2])]
        return [(address, access) for address, access, _ in uses[:pages]]


def _seen(truth: KvmTruth) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """Return the events that matter here with their indices, as (kind, address, value, access)."""
    events = truth.events
    user = (events["kind"] != int(Event.TOUCH)) | (events["address"] < USER_END)
    index = np.flatnonzero(np.isin(events["kind"], _SEEN) & user)
    chosen = events[index]
    columns = (chosen[name].tolist() for name in ("kind", "address", "value", "access"))
    return index.tolist(), list(zip(*columns, strict=True))


def fit_retouches(truth: KvmTruth) -> RetouchFit:
    """Measure how many pages, and which, a process uses again between a CR3 load and its next page fault."""
    seen = _seen(truth)[1]
    intervals = np.array([len(used) for _, used in _intervals(seen, form=Form.LAST, pages=0)])
    if not intervals.size:
        return RetouchFit(pages=0, intervals=0, median=0.0, mean_error=0.0, form=Form.NONE, guessed={})
    pages = round(float(intervals.mean()))
    guessed, scores = {}, {}
    for form in (Form.LAST, Form.USED_AGAIN):
        pairs = list(_intervals(seen, form=form, pages=pages))
        right = sum(len(guess & used) for guess, used in pairs)
        said, real = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
        guessed[form.value] = (right / max(said, 1), right / real)
        scores[form] = 2 * right / (said + real)
    return RetouchFit(
        pages=pages,
        intervals=int(intervals.size),
        median=float(np.median(intervals)),
        mean_error=float(np.abs(intervals - pages).mean()),
        form=max(scores, key=lambda form: scores[form]),
        guessed=guessed,
    )


def _intervals(seen: list[tuple[int, int, int, int]], *, form: Form, pages: int) -> Iterator[tuple[set[int], set[int]]]:
    """Yield, per CR3 load with uses before the next page fault, the pages guessed at its start and those used again."""
    processes, guess, used, counted = _Processes(), set[int](), set[int](), False
    for kind, address, value, access in seen:
        if kind == Event.CR3:
            processes.load(value)
            guess = {place >> 12 for place, _ in processes.last(pages, form=form)}
            used, counted = set(), True
        elif kind == Event.LINK:
            processes.forget(address, value)
        elif kind == Event.TOUCH:
            if processes.use(address, access & _KINDS_OF_ACCESS) and counted:
                used.add(address >> 12)
        elif counted:
            if used:
                yield guess, used
            counted = False


def with_retouches(truth: KvmTruth, *, pages: int, form: Form) -> KvmTruth:
    """Return the recording with up to `pages` touches after the access that ends each page fault of the guest."""
    if form is Form.NONE or not pages:
        return truth
    processes, pending = _Processes(), False
    places: list[int] = []
    added: list[tuple[int, int]] = []
    for index, (kind, address, value, access) in zip(*_seen(truth), strict=True):
        if kind == Event.CR3:
            processes.load(value)
            pending = False
        elif kind == Event.LINK:
            processes.forget(address, value)
        elif kind == Event.GUEST_FAULT:
            pending = bool(access & Access.USER)
        else:
            processes.use(address, access & _KINDS_OF_ACCESS)
            if pending:
                again = processes.last(pages, form=form, but=address)
                places += [index + 1] * len(again)
                added += again
                pending = False
    events = np.zeros(len(added), dtype=EVENT)
    events["kind"] = int(Event.TOUCH)
    events["address"] = [address for address, _ in added]
    events["access"] = [access | Access.USER for _, access in added]
    where = np.array(places, dtype=np.int64)
    rows = truth.row[where - 1] if added else truth.row[:0]
    markers = {
        name: (start + int((where < start).sum()), end + int((where < end).sum()))
        for name, (start, end) in truth.markers.items()
    }
    return replace(
        truth, events=np.insert(truth.events, where, events), row=np.insert(truth.row, where, rows), markers=markers
    )
