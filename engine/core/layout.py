"""What C and Python share, declared once in Python; the build writes it to `layout.h`.

Enumerations become `EVENT_STORE`, `ACCESS_WRITE`, …; choices of a knob `FLOOD_SCOPE_PAGE`, …; counters
`COUNTER_EXITS`, ….
Each numpy record becomes a C struct whose offsets and size the compiler checks against numpy's.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from engine import x86
from engine.checks import LEVELS, RUN_NS_MAX, Wrong
from engine.core.guest import layout_guest
from engine.events import DIRECT_MAP_BASE, EVENT
from engine.knobs import KNOBS
from engine.operations import OPERATION
from engine.sources import core_digest
from engine.vocabulary import (
    ACTIVITY_NAMES,
    COUNTER_INDEX,
    COUNTER_NAMES,
    Access,
    Activity,
    Event,
    Instruction,
    Operation,
)

ENUMERATIONS: Final = (Event, Operation, Instruction, Access, Activity, Wrong)
KNOB_RECORD: Final = np.dtype([(name, np.int64) for name in KNOBS])
"""The knobs of one lane: truth values as 0 or 1, choices by their place in the list of choices."""

_TYPES: Final = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float64": "double",
    "bool": "bool",
}


def knob_values(knobs: Any) -> tuple[int, ...]:
    """Return the fields of a `Knobs` as one row of KNOB_RECORD."""
    row = []
    for name, info in KNOBS.items():
        value, choices = getattr(knobs, name), info.choices
        row.append(choices.index(value) if choices else int(value))
    return tuple(row)


def constants() -> dict[str, int]:
    """Return C name -> value of all shared numbers that belong to no enumeration."""
    return {
        "ACTIVITIES": len(ACTIVITY_NAMES),
        "COUNTERS": len(COUNTER_NAMES),
        "EVENT_KINDS": len(Event),
        "INSTRUCTIONS": len(Instruction),
        "GUEST_LEVELS": LEVELS,
        **x86.constants(),
        **layout_guest.constants(),
    }


def structs() -> dict[str, np.dtype[Any]]:
    """Return C name -> dtype of all shared records."""
    return {"event": EVENT, "operation": OPERATION, "knobs": KNOB_RECORD, **layout_guest.structs()}


def header_file() -> str:
    """Return the text of `layout.h`: declarations, and the hash by which the core knows what it was built from."""
    return f'{header()}\n#define BUILT_FROM "{core_digest()}"\n'


def header() -> str:
    """Return the declarations of `layout.h`.

    Raises:
        ValueError: a record has a field of a type that has no counterpart in C.
    """
    lines = [
        "/* Written by engine/core/layout.py from the declarations in Python when the core is built; do not edit. */",
        "#pragma once",
        "#include <stdbool.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f"#define DIRECT_MAP_BASE UINT64_C({DIRECT_MAP_BASE:#x})",
        f"#define RUN_NS_MAX UINT64_C({RUN_NS_MAX})",
    ]
    for enumeration in ENUMERATIONS:
        lines += _enumeration(enumeration.__name__, {str(one.name): int(one) for one in enumeration})
    for knob, info in KNOBS.items():
        if choices := info.choices:
            lines += _enumeration(knob, {choice: i for i, choice in enumerate(choices)})
    lines += _enumeration("counter", COUNTER_INDEX)
    lines += ["enum {", *(f"\t{name} = {value}," for name, value in constants().items()), "};", ""]
    known: dict[str, str] = {}
    for name, dtype in structs().items():
        lines += _struct(name, dtype, known)
        known[str(dtype)] = name
    return "\n".join(lines)


def _enumeration(name: str, values: Mapping[str, int]) -> Iterator[str]:
    yield f"enum {{ /* {name.lower()} */"
    yield from (f"\t{name.upper()}_{one.upper()} = {value}," for one, value in values.items())
    yield "};"
    yield ""


def _struct(name: str, dtype: np.dtype[Any], known: Mapping[str, str]) -> Iterator[str]:
    """Yield a struct and the checks that it lies in memory as numpy's record does."""
    yield f"struct {name} {{"
    for field in dtype.names or ():
        base, shape = dtype[field].base, dtype[field].shape
        if base.name in _TYPES:
            c_type = _TYPES[base.name]
        elif str(base) in known:
            c_type = f"struct {known[str(base)]}"
        else:
            raise ValueError(f"record '{name}', field '{field}': no C type for {base}; known: {', '.join(_TYPES)}")
        yield f"\t{c_type} {field}{''.join(f'[{n}]' for n in shape)};"
    yield "};"
    yield f'_Static_assert(sizeof(struct {name}) == {dtype.itemsize}, "size of struct {name}");'
    for field, (_, offset, *_rest) in (dtype.fields or {}).items():
        yield f'_Static_assert(offsetof(struct {name}, {field}) == {offset}, "struct {name}: {field}");'
    yield ""
