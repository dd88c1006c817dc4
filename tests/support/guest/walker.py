"""A plain-Python page-table walker that replays events: what the guest's own tables allow at each point of a trace."""

from dataclasses import dataclass, field

from engine.events import Events
from engine.vocabulary import Access, Event

PRESENT, WRITABLE, USER, LARGE, NO_EXECUTE = 1, 2, 4, 0x80, 1 << 63
GFN_MASK = (1 << 40) - 1
PAGE = 4096


@dataclass
class Walker:
    """Memory of the tables, and the root that each vCPU has loaded."""

    entries: dict[int, int] = field(default_factory=dict)
    roots: dict[int, int] = field(default_factory=dict)
    loaded: set[int] = field(default_factory=set)
    tables: set[int] = field(default_factory=set)
    live_stores: int = 0

    def allows(self, vcpu: int, address: int, access: Access) -> bool:
        """Tell whether the tables translate an address for an access."""
        table = self.roots[vcpu]
        granted = Access.READ | Access.WRITE | Access.FETCH | Access.USER
        for level in (4, 3, 2, 1):
            entry = self.entries.get(table + ((address >> (12 + 9 * (level - 1))) & 511) * 8, 0)
            if not entry & PRESENT:
                return False
            if not entry & WRITABLE:
                granted &= ~Access.WRITE
            if not entry & USER:
                granted &= ~Access.USER
            if entry & NO_EXECUTE:
                granted &= ~Access.FETCH
            if level == 1 or entry & LARGE:
                break
            table = ((entry >> 12) & GFN_MASK) * PAGE
        wanted = access & (Access.READ | Access.WRITE | Access.FETCH | Access.USER)
        return wanted & ~granted == Access(0)

    def reachable(self) -> set[int]:
        """Return all table pages that lead from roots that some vCPU has loaded."""
        found: set[int] = set()
        level_pages = set(self.loaded)
        for level in (4, 3, 2, 1):
            found |= level_pages
            below: set[int] = set()
            for page in level_pages if level > 1 else ():
                for index in range(512):
                    entry = self.entries.get(page + index * 8, 0)
                    if entry & PRESENT and not entry & LARGE:
                        below.add(((entry >> 12) & GFN_MASK) * PAGE)
            level_pages = below
        return found

    def replay(self, events: Events, *, check_live: bool = False) -> None:
        """Carry out events; assert that touches translate, faults do not, and live stores hit linked tables."""
        for event in events:
            kind, vcpu = Event(int(event["kind"])), int(event["vcpu"])
            address, value, access = int(event["address"]), int(event["value"]), Access(int(event["access"]))
            if kind == Event.LINK:
                self.tables.add(address)
                self._fill(address, 512, 0)
            elif kind == Event.CONTENT:
                self.entries[address] = value
            elif kind == Event.STORE:
                if access & Access.LIVE:
                    self.live_stores += 1
                    assert not check_live or address & ~(PAGE - 1) in self.reachable()
                assert address & ~(PAGE - 1) in self.tables
                if not access & Access.USER_VA:
                    width, count = int(event["width"]), int(event["count"])
                    self._fill(address & ~7, max(1, width * count // 8), value)
            elif kind == Event.CR3:
                self.roots[vcpu] = value
                self.loaded.add(value)
            elif kind == Event.TOUCH:
                assert self.allows(vcpu, address, access), (hex(address), access)
            elif kind == Event.GUEST_FAULT:
                assert not self.allows(vcpu, address, access), (hex(address), access)

    def _fill(self, address: int, count: int, value: int) -> None:
        """Set entries from an address on."""
        for place in range(address, address + count * 8, 8):
            if value:
                self.entries[place] = value
            else:
                self.entries.pop(place, None)
