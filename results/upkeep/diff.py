"""Are the tables of two runs the same, and if not, which cells and columns differ?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from results.store.columns import SORT_KEYS, TABLES
from results.store.parts import PART_TABLES, REQUIRED_TABLES
from results.store.run_store import RunStore
from results.wording import counted

CELLS_SHOWN: Final = 5
"""Cells that are named in a line; the others are counted."""
_LABELS: Final = ("workload", "guest", "replicate", "policy")
"""Sort keys that follow from the cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDifference:
    """How one table of two runs differs: cells in one run only, and per column the cells whose values differ."""

    table: str
    rows: int
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    names: dict[str, str]
    """Some of these cells by their ids -> what they are, for people."""

    @property
    def identical(self) -> bool:
        """Whether the table is the same in both runs."""
        return not (self.only_in_first or self.only_in_second or self.columns)

    def listed(self, cells: tuple[str, ...]) -> str:
        """Return the first of some cells by their names and ids."""
        shown = "; ".join(f"{self.names[cell]} ({cell})" for cell in cells[:CELLS_SHOWN])
        return shown + ("; …" if len(cells) > CELLS_SHOWN else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDifference:
    """How two runs differ."""

    first: str
    second: str
    tables: tuple[TableDifference, ...]

    @property
    def identical(self) -> bool:
        """Whether all tables are the same."""
        return all(table.identical for table in self.tables)

    def text(self) -> str:
        """Return the difference in words, a line per fact."""
        lines = []
        told: dict[tuple[str, tuple[str, ...]], str] = {}
        for table in self.tables:
            if table.identical:
                lines.append(f"{table.table}: identical ({counted(table.rows, 'row')})")
            for alone in ((self.first, table.only_in_first), (self.second, table.only_in_second)):
                path, cells = alone
                if cells:
                    which = f"those of {told[alone]}" if alone in told else table.listed(cells)
                    lines.append(f"{table.table}: {_count(cells)} only in {path}: {which}")
                    told.setdefault(alone, table.table)
            lines += [
                f"{table.table}: column '{column}' differs in {_count(cells)}: {table.listed(cells)}"
                for column, cells in table.columns.items()
            ]
        return "\n".join(lines) + "\n"


def diff_runs(first: str | Path, second: str | Path) -> RunDifference:
    """Compare the committed rows of two runs, whatever files they are in.

    Raises:
        StoreError: a folder holds no run.
    """
    stores = RunStore(first), RunStore(second)
    there = [t for t in PART_TABLES if t in REQUIRED_TABLES or any(store.manifest.parts(t) for store in stores)]
    tables = tuple(_diff_table(table, *[store.scan(table) for store in stores]) for table in there)
    return RunDifference(first=stores[0].name, second=stores[1].name, tables=tables)


def _diff_table(table: str, first: pl.LazyFrame, second: pl.LazyFrame) -> TableDifference:
    keys = [key for key in SORT_KEYS[table] if key not in _LABELS]
    columns = [column.name for column in TABLES[table] if column.name not in keys]
    both = first.join(second, on=keys, how="inner", suffix=" of second")
    differs = [pl.col(c).ne_missing(pl.col(f"{c} of second")).alias(c) for c in columns]
    wrong = both.select(*keys, *differs).filter(pl.any_horizontal(columns)).collect(engine="streaming")
    alone = (_missing(first, second, keys), _missing(second, first, keys))
    changed = {c: ids for c in columns if (ids := _ids(wrong.filter(pl.col(c))))}
    return TableDifference(
        table=table,
        rows=first.select(pl.len()).collect(engine="streaming").item(),
        only_in_first=alone[0],
        only_in_second=alone[1],
        columns=changed,
        names=_names((first, second), {cell for cells in (*alone, *changed.values()) for cell in cells[:CELLS_SHOWN]}),
    )


def _names(tables: tuple[pl.LazyFrame, pl.LazyFrame], cells: set[str]) -> dict[str, str]:
    """Return cell id -> name, as the first table that has it calls it."""
    name = pl.format("{} on {}, {}, replicate {}", "policy", "guest", "workload", "replicate")
    names: dict[str, str] = {}
    for rows in reversed(tables) if cells else ():
        found = (
            rows.filter(pl.col("cell_id").is_in(sorted(cells))).select("cell_id", name.alias("name")).unique("cell_id")
        )
        names |= dict(found.collect(engine="streaming").iter_rows())
    return names


def _missing(here: pl.LazyFrame, there: pl.LazyFrame, keys: list[str]) -> tuple[str, ...]:
    return _ids(here.select(keys).join(there.select(keys), on=keys, how="anti").collect(engine="streaming"))


def _ids(rows: pl.DataFrame) -> tuple[str, ...]:
    return tuple(rows["cell_id"].unique().sort().to_list())


def _count(cells: tuple[str, ...]) -> str:
    return counted(len(cells), "cell")
