"""The columns of a layer-1 trace file, with units; docs/reference/trace-format.md is checked against them."""

from typing import Final

import pyarrow as pa

from engine.vocabulary import Operation

FORMAT: Final = "shadowsweep-operations"
TABLE_KEYS: Final = ("shadowsweep.format", "shadowsweep.version", "shadowsweep.commands", "shadowsweep.source")
"""Keys of the file's metadata: format and version, then JSON: the command names by index, and the source."""

_KINDS: Final = ", ".join(f"{kind.value} {kind.name}" for kind in Operation)
_COLUMNS: Final = (
    ("time_ns", pa.uint64(), "ns", "native guest time since the first operation"),
    ("address", pa.uint64(), "byte address", "guest virtual address, as the kind says; else 0"),
    ("length", pa.uint64(), "bytes", "length of a range, as the kind says; else 0"),
    ("pid", pa.uint32(), "id", "the thread that does it"),
    ("peer", pa.uint32(), "id", "the new thread of a CLONE; else 0"),
    ("flags", pa.uint32(), "bits", "as the kind says; else 0"),
    ("kind", pa.uint8(), "code", _KINDS),
    ("vcpu", pa.uint8(), "index", "the CPU that it happens on"),
    ("comm", pa.dictionary(pa.int32(), pa.string()), "name", "command name of the thread at that time"),
)
SCHEMA: Final = pa.schema(
    [
        pa.field(name, kind, nullable=False, metadata={"unit": unit, "description": text})
        for name, kind, unit, text in _COLUMNS
    ],
)
"""One row per operation, in time order."""
