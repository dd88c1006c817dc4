"""The words of a recording of a real KVM, and what they are in layer 2."""

from typing import Final

from engine.vocabulary import Access, Event, Instruction

USER_END: Final = 1 << 47
PAGE_BYTES: Final = 4096
ENTRY_BYTES: Final = 8
REACH_ROWS: Final = 8192
"""How many rows apart a fault and the row that says its access may be; farther away, an access is another one.

Design choice: in recordings of up to 4.6 million rows they are at most 838 apart.
"""
CLEAR_PAGE: Final = "clear_page_rep"
"""The guest kernel's function that clears exactly one page with one `rep stosq`."""

INSNS: Final = {i.name.lower(): int(i) for i in Instruction}
TOUCH_ACCESS: Final = {
    "R": int(Access.READ),
    "W": int(Access.WRITE),
    "RW": int(Access.READ | Access.WRITE),
    "X": int(Access.FETCH),
}
KIND: Final = {
    "store": int(Event.STORE),
    "touch": int(Event.TOUCH),
    "guest_fault": int(Event.GUEST_FAULT),
    "cr3": int(Event.CR3),
    "cr4": int(Event.FLUSH_ALL),
    "invlpg": int(Event.INVLPG),
    "link": int(Event.LINK),
    "content": int(Event.CONTENT),
    "marker_start": int(Event.WINDOW),
    "marker_end": int(Event.WINDOW),
}
MARKERS: Final = ("marker_start", "marker_end")
