"""Who is flushed, and how: INVLPG or a CR3 load, here and on other vCPUs."""

import numpy as np
import pytest

from engine import x86
from engine.guest.parameters import LINUX_2011
from engine.vocabulary import Activity, Event, Operation
from tests.support.guest.scripts import CHILD, DATA, PAGE, SHELL, after, follow, of_kind, process_with_pages, run_more


@pytest.mark.parametrize(("pages", "invalidations", "loads"), [(33, 33, 0), (34, 0, 1)])
def test_short_ranges_are_flushed_page_by_page(pages: int, invalidations: int, loads: int) -> None:
    """Unmapping up to 33 pages takes INVLPG for each, more takes one CR3 load."""
    script = process_with_pages(pages)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, pages * PAGE)

    events = run_more(model, more)

    assert invalidations == len(of_kind(events, Event.INVLPG))
    assert loads == len(of_kind(events, Event.CR3))


def test_linux_of_2011_always_loads_cr3() -> None:
    """With the parameters of 2011 even one page is flushed with a CR3 load, and no neighbours are mapped."""
    script = process_with_pages(1)
    model, before = after(script, dict(LINUX_2011))
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, PAGE)

    events = run_more(model, more)

    assert len(of_kind(events, Event.CR3)) == 1
    assert len(of_kind(events, Event.INVLPG)) == 0
    reads = before[(before["activity"] == Activity.DEMAND_FAULT) & (before["kind"] == Event.STORE)]
    assert len(reads[reads["value"] & np.uint64(x86.WRITABLE) == 0]) > 0


def test_threads_on_another_vcpu_are_interrupted() -> None:
    """An unmap by one thread flushes the vCPU on which another thread of the process runs, and no idle one."""
    script = process_with_pages(40)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=0x100)
    script.add(Operation.SWITCH_IN, CHILD, vcpu=1)
    model, _ = after(script, vcpus=3)
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, 40 * PAGE)

    loads = of_kind(run_more(model, more), Event.CR3)

    assert {0, 1} == set(loads["vcpu"].tolist())
    assert len(set(loads["value"].tolist())) == 1


def test_kernel_threads_borrow_the_address_space() -> None:
    """Switching to a thread without an address space and back loads no CR3."""
    script = process_with_pages(1)
    model, _ = after(script)
    more = follow(script)
    for pid in (900, SHELL):
        more.add(Operation.SWITCH_IN, pid)

    assert len(of_kind(run_more(model, more), Event.CR3)) == 0
