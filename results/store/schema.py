"""Arrow schemas of the result tables, and what every Parquet footer says about itself."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pyarrow as pa

from results.store.columns import TABLES, Column

_EVERY: Final = tuple(column for columns in TABLES.values() for column in columns)
SCHEMA_VERSION: Final = max([column.since or 1 for column in _EVERY] + [c.formerly[1] for c in _EVERY if c.formerly])
"""Version of the tables that this program writes; it reads this one and all before.

History (docs/reference/schema-history.md; a run of each version is in tests/data/runs):
1 = cells, windows and failures with one int64 column per counter.
2 = failures say attempt, fingerprint, host, stderr and command; a table of activities.
3 = the column `paging` is called `host_paging`.
Later versions that brought nothing but counters are told by those (docs/reference/counters.md).
"""

_TYPES: Final = {
    "bool": pa.bool_(),
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
}


class SchemaError(ValueError):
    """A table has not the columns that its name promises, or comes from another version."""


@cache
def table_schema(table: str) -> pa.Schema:
    """Return the schema of `table`; each field carries unit, description and source."""
    fields = [
        pa.field(
            column.name,
            _TYPES[column.type],
            # Rows of older versions have no value there, and keep that when they are compacted or merged.
            nullable=column.since is not None and column.before is None,
            metadata={"unit": column.unit, "description": column.description, "source": column.source},
        )
        for column in TABLES[table]
    ]
    return pa.schema(fields)


def footer_metadata(resolved_spec: Mapping[str, Any], code_fingerprint: str) -> dict[str, str]:
    """Return what makes a lone file self-describing: version, fingerprint and the specification, in a fixed order."""
    return {
        "schema_version": str(SCHEMA_VERSION),
        "code_fingerprint": code_fingerprint,
        "resolved_spec": json.dumps(resolved_spec, sort_keys=True, separators=(",", ":")),
    }


def check_table(table: str, rows: pa.Table) -> None:
    """Raise SchemaError unless `rows` has exactly the columns of `table`."""
    expected = table_schema(table)
    if rows.schema.equals(expected, check_metadata=False):
        return
    problems = [f"missing column '{name}'" for name in expected.names if name not in rows.schema.names]
    problems += [f"unknown column '{name}'" for name in rows.schema.names if name not in expected.names]
    for field in expected:
        if rows.schema.names.count(field.name) == 1:
            found = rows.schema.field(field.name)
            if not found.equals(field, check_metadata=False):
                problems.append(f"column '{field.name}': expected {field.type} not null, found {found}")
    what = "; ".join(problems) or "the columns are in another order"
    raise SchemaError(f"table {table}: {what}. Build rows with results.store.rows; columns: docs/reference/columns.md")


def stored_names(table: str, version: int) -> dict[str, str]:
    """Return present name -> name in files of a version, of each column that they have."""
    names = {column.name: column.name_in(version) for column in TABLES[table]}
    return {name: stored for name, stored in names.items() if stored is not None}


@cache
def present_names(version: int) -> dict[str, str]:
    """Return name in files of a version -> present name, of the columns of all tables."""
    return {stored: name for table in TABLES for name, stored in stored_names(table, version).items()}


def footer_version(metadata: Mapping[bytes, bytes] | None) -> int:
    """Return the version that wrote a file, by its footer; the present one if it says none."""
    found = (metadata or {}).get(b"schema_version", b"")
    return int(found) if found.isdigit() else SCHEMA_VERSION


def upgraded(table: str, rows: pa.Table) -> pa.Table:
    """Return rows of any version that this program reads with the columns of the present one.

    New ones hold what older rows are known to be, or null.
    """
    schema = table_schema(table)

    def values(column: Column) -> pa.ChunkedArray | pa.Array:
        if column.name in rows.schema.names:
            return rows[column.name]
        return pa.repeat(pa.scalar(column.before, _TYPES[column.type]), rows.num_rows)

    return pa.table([values(column) for column in TABLES[table]], schema=schema)


def check_version(place: str, found: object) -> None:
    """Raise SchemaError unless `found`, the schema version of the file `place`, is one that this program reads."""
    readable = str(found).isdecimal() and 1 <= int(str(found)) <= SCHEMA_VERSION
    if readable:
        return
    what = f"{place}: schema version {found}, but this program reads versions 1 to {SCHEMA_VERSION}. "
    if str(found).isdecimal():
        raise SchemaError(what + "A newer program wrote it: use that one, or update this one")
    raise SchemaError(what + "It is not a file of a run, or it is damaged: see `sweep fsck`")


def check_footer(path: str, metadata: Mapping[bytes, bytes] | None) -> None:
    """Raise SchemaError unless the footer of `path` says that this version of the code can read it."""
    check_version(path, (metadata or {}).get(b"schema_version", b"none").decode())
