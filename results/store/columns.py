"""Every column of every result table; the Arrow schemas and docs/reference/columns.md follow from it."""

from dataclasses import dataclass
from typing import Any, Final

from engine.guests import GUEST_FIELDS
from engine.vocabulary import COUNTERS


@dataclass(frozen=True, slots=True)
class Column:
    """What one column of a result table means. `type` is the name of an Arrow type.

    A column that an existing table gets names in `since` the schema version that brought it: rows of older runs have
    `before` there. So does a counter, where it is declared. docs/reference/schema-history.md says how to add one.
    """

    name: str
    type: str
    unit: str
    description: str
    source: str
    since: int | None = None
    before: Any = None
    """What older rows are known to be; null where nobody knows."""
    formerly: tuple[str, int] | None = None
    """Another name that the column had, and the schema version that gave it the present one."""

    def name_in(self, version: int) -> str | None:
        """Return how files of a version call the column; none if they lack it."""
        if self.since is not None and version < self.since:
            return None
        return self.formerly[0] if self.formerly is not None and version < self.formerly[1] else self.name


PAGINGS: Final = ("shadow", "nested")
"""How the host may map a guest's memory: by shadow page tables, or by tables that hardware walks as well."""
_SPEC: Final = "the resolved specification of the sweep"
_TRACE: Final = "the trace that all policies of a batch met"

_ARROW_TYPES: Final = {"boolean": "bool", "integer": "int32", "number": "float64", "string": "string"}
"""Type of a guest's field -> type of its column."""

GUEST: Final[tuple[Column, ...]] = tuple(
    Column(
        name,
        _ARROW_TYPES[field.type],
        field.unit,
        field.meaning,
        _SPEC,
        field.since,
        field.default if field.since else None,
    )
    for name, field in GUEST_FIELDS.items()
)
"""The fields of a guest; guests of older runs are what the default of a later field says."""

IDENTITY: Final[tuple[Column, ...]] = (
    Column("cell_id", "string", "1", "hash of everything that affects the answer: resume key and join key", _SPEC),
    Column("policy", "string", "1", "how the hypervisor reacts to stores to pages that it shadows", _SPEC),
    Column(
        "host_paging",
        "string",
        "1",
        "'shadow', or 'nested' where hardware walks both tables",
        _SPEC,
        formerly=("paging", 3),
    ),
    Column("workload", "string", "1", "what runs in the guest", _SPEC),
    Column("guest", "string", "1", "name of the virtual machine's size and kind", _SPEC),
    *GUEST,
    Column("replicate", "int32", "1", "repetition with another seed, from 0", _SPEC),
    Column("seed", "uint64", "1", "seed of the trace; the same for all policies", _SPEC),
    Column("trace_digest", "string", "1", "hash of the events; equal for all policies of a replicate", _TRACE),
    Column("window_ns", "int64", "ns", "length of a window of native guest time", _SPEC),
    Column("native_seconds", "float64", "s", "native guest time that the trace spans", _TRACE),
    Column("events", "int64", "1", "layer-2 events in the trace", _TRACE),
)
"""What a row is about: the same columns, in the same order, in both tables of counters."""

WINDOW: Final[tuple[Column, ...]] = (
    Column("window", "int32", "1", "index of the window, from 0", _TRACE),
    Column("start_ns", "int64", "ns", "native guest time at which the window starts", _TRACE),
    Column("length_ns", "int64", "ns", "native guest time in the window; the last one is shorter", _TRACE),
)

ACTIVITY: Final[tuple[Column, ...]] = (
    Column("activity", "string", "1", "what the guest was doing: fork, exec, exit, page_reuse, …", _TRACE),
)

COUNTER: Final[tuple[Column, ...]] = tuple(
    Column(info.name, "int64", info.unit, info.description, info.source, info.since) for info in COUNTERS
)

FAILURE: Final[tuple[Column, ...]] = (
    *IDENTITY[: [column.name for column in IDENTITY].index("trace_digest")],
    Column("attempt", "int32", "1", "how often the batch had been tried, this time included", "the driver", 2),
    Column(
        "fingerprint",
        "string",
        "1",
        "hash of the cause: type, message without numbers, innermost frames",
        "the worker",
        2,
    ),
    Column("error", "string", "1", "type of the error that ended the batch", "the worker"),
    Column("message", "string", "1", "text of the error", "the worker"),
    Column("traceback", "string", "1", "where the error was raised", "the worker"),
    Column("host", "string", "1", "machine on which the batch failed", "the worker", 2),
    Column("stderr", "string", "1", "last lines that the worker wrote to its stderr meanwhile", "the worker", 2),
    Column("command", "string", "1", "command that runs the batch in a terminal, without writing", "the driver", 2),
)

TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "cells": (*IDENTITY, *COUNTER),
    "windows": (*IDENTITY, *WINDOW, *COUNTER),
    "activities": (*IDENTITY, *ACTIVITY, *COUNTER),
    "failures": FAILURE,
}
"""Table name -> its columns, in order."""

SORT_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "cells": ("workload", "guest", "replicate", "policy", "cell_id"),
    "windows": ("workload", "guest", "replicate", "policy", "cell_id", "window"),
    "activities": ("workload", "guest", "replicate", "policy", "cell_id", "activity"),
    "failures": ("workload", "guest", "replicate", "policy", "cell_id"),
}
"""Table name -> the columns that order its rows, so that bytes do not depend on who wrote them when."""

_TITLES: Final = {
    "cells": "one row per cell: counters in total",
    "windows": "one row per cell and window of native guest time: counters in that window",
    "activities": "one row per cell and guest activity that caused any count: its part of the counters",
    "failures": "one row per cell that has failed and has not succeeded since",
}


def columns_markdown() -> str:
    """Return docs/reference/columns.md."""
    lines = [
        "# Columns",
        "",
        "Written by `python -m results.store.columns`; a test fails when this page is not fresh.",
        "The same texts are in the",
        "footer of each Parquet file, as metadata of the fields (`unit`, `description`, `source`).",
        "",
        "Counters of `windows` add up to those of `cells`, except `pages_peak`, which is a maximum. `mmu_unsync` is a",
        "gauge: what a window adds to it may be negative. Those of `activities` add up likewise; a peak is 0 there. An",
        "activity for which a cell counted nothing has no row; `guest_run_ns` stands under what ended the run.",
        "",
        "Columns that say what a row is about, `events` and `native_seconds` among them, hold the value of the whole",
        "cell in every row of each table: they do not add up.",
    ]
    for table, columns in TABLES.items():
        lines += ["", f"## {table}: {_TITLES[table]}", "", "| column | type | unit | meaning | source |"]
        lines.append("|---|---|---|---|---|")
        shown = columns if table == "cells" else [c for c in columns if c not in TABLES["cells"]]
        lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.description} | {c.source} |" for c in shown]
        if table in {"windows", "activities"}:
            lines += ["", "All columns of `cells` are in this table as well."]
        elif table == "failures":
            lines += ["", "The columns of `cells` up to `seed` are in this table as well."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(columns_markdown())
