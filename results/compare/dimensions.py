"""Dimensions of a run: everything by which its cells can be told apart, from labels down to single knobs.

A label (`policy`, `workload`, `guest`) stands for a family of finer dimensions: a policy for its knobs, a workload for
its parameters, a guest for its size and kind. `run` tells two runs apart.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import polars as pl

from results.spelling import did_you_mean
from results.statistics.pairing import ComparisonError
from results.store.columns import IDENTITY

LABELS: Final = ("run", "policy", "workload", "guest", "replicate")
"""One name per family. With all of them fixed there is one cell."""
_OTHERS: Final = frozenset(
    {*LABELS, "cell_id", "host_paging", "seed", "trace_digest", "window_ns", "native_seconds", "events"}
)
GUEST: Final = tuple(column.name for column in IDENTITY if column.name not in _OTHERS)
"""What a guest's label stands for: columns of every table."""
COORDINATES: Final = ("policy", "workload", "guest", "replicate", "host_paging", *GUEST, "trace_digest")
"""What is read of each cell beside its numbers."""

_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION: Final = re.compile(r"\s*([\w.]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """The dimensions of one or two runs; `tables` holds, per family, one row per label with what it stands for."""

    tables: dict[str, pl.DataFrame]

    @property
    def families(self) -> dict[str, str]:
        """Name of each dimension -> the label that it is part of."""
        finer = {name: label for label, table in self.tables.items() for name in table.columns if name not in LABELS}
        return {**{label: label for label in LABELS}, **dict.fromkeys(GUEST, "guest"), "host_paging": "policy", **finer}

    def checked(self, name: str) -> str:
        """Return `name` if it is a dimension; `policy.unsync` is `unsync`.

        Raises:
            ComparisonError: it is none; the message lists those that vary.
        """
        label, _, short = name.partition(".")
        known = self.families
        if name in known:
            return name
        if label in LABELS and known.get(short) == label:
            return short
        varying = [n for n in known if n in {*LABELS[1:], *GUEST} or (n != "run" and self.varies(n))]
        raise ComparisonError(f"unknown dimension '{name}'.{did_you_mean(name, known)} Allowed: {', '.join(varying)}")

    def varies(self, name: str) -> bool:
        """Return whether a knob or parameter has several values in the specification."""
        return any(name in table.columns and table[name].n_unique() > 1 for table in self.tables.values())

    def finer(self, label: str) -> list[str]:
        """Return what `label` stands for, as far as it varies; a guest's size always, for it is read from the cells."""
        if label == "guest":
            return list(GUEST)
        parts = self.tables[label].columns if label in self.tables else ()
        return [name for name in parts if name not in LABELS and self.varies(name)]

    def attach(self, cells: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """Return `cells` with the dimensions `names` as columns."""
        for label, table in self.tables.items():
            wanted = [name for name in dict.fromkeys(names) if name in table.columns and name not in cells.columns]
            if wanted:
                keys = [key for key in ("run", label) if key in table.columns and key in cells.columns]
                columns = [*keys, *(name for name in wanted if name not in keys)]
                cells = cells.join(table.select(columns), on=keys, how="left", maintain_order="left")
        return cells


def dimensions_of(specs: Mapping[str, Mapping[str, Any]]) -> Dimensions:
    """Return the dimensions of runs, given name and resolved specification of each.

    Where a knob and a parameter share a name, or one is called like a column, `workload.<name>` is the parameter.
    """
    knobs, parameters = [], []
    for run, spec in specs.items():
        policies = [policy for policy in spec.get("policies", ()) if isinstance(policy, Mapping)]
        cases = [case for case in spec.get("workloads", ()) if isinstance(case, Mapping)]
        knobs += [{"run": run, "policy": policy["name"], **policy.get("knobs", {})} for policy in policies]
        parameters += [{"run": run, "workload": case["label"], **case.get("parameters", {})} for case in cases]
    taken = {*LABELS, *COORDINATES, *(name for row in knobs for name in row)}
    parameters = [
        {(f"workload.{name}" if name in taken - {"run", "workload"} else name): value for name, value in row.items()}
        for row in parameters
    ]
    found = {"policy": knobs, "workload": parameters}
    return Dimensions(tables={label: _table(rows) for label, rows in found.items() if rows})


def _table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return `rows` as columns; one that holds lists, or values of several types, becomes text."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    for name, values in columns.items():
        types = {type(value) for value in values if value is not None}
        if len(types) > 1 or not types <= {bool, int, float, str}:
            columns[name] = [None if value is None else spelled(value) for value in values]
    return pl.DataFrame(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One `--where`: a dimension, a comparison and what to compare with."""

    dimension: str
    comparison: str
    values: tuple[str, ...]

    def keeps(self, column: pl.Series) -> pl.Expr:
        """Return which cells the condition keeps; `column` holds their values of its dimension.

        Raises:
            ComparisonError: a value does not fit the column, or order is asked of words.
        """
        found = column.unique().to_list()
        if self.comparison in _OPERATORS:
            (text,) = self.values
            wanted = [one for one in found if one is not None and self._ordered(one, text)]
        else:
            wanted = [one for one in found if any(_is_value(one, text) for text in self.values)]
            unknown = [text for text in self.values if not any(_is_value(one, text) for one in found)]
            if unknown and self.comparison == "=":
                shown = ", ".join(sorted(map(spelled, found)))
                raise ComparisonError(f"--where {self.dimension}: no cell has '{unknown[0]}'. There are: {shown}")
        kept = pl.col(self.dimension).is_in(pl.Series(wanted, dtype=column.dtype).implode())
        return ~kept if self.comparison == "!=" else kept

    def _ordered(self, value: object, text: str) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ComparisonError(f"--where {self.dimension}{self.comparison}{text}: only numbers have an order, use =")
        return bool(_OPERATORS[self.comparison](value, float(text)))


def parse_condition(text: str, dimensions: Dimensions) -> Condition:
    """Return the condition that `text` states, such as `guest=1cpu-1g,2cpu-1g`, `policy!=kvm-*` or `vcpus>=4`.

    Raises:
        ComparisonError: it states none.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ComparisonError(
            f"--where '{text}': expected DIMENSION=VALUE[,VALUE…], or one of != < <= > >= with a value"
        )
    name, comparison, rest = match.groups()
    values = tuple(value.strip() for value in rest.split(","))
    if comparison in _OPERATORS and (len(values) != 1 or not re.fullmatch(r"-?\d+(\.\d+)?", values[0])):
        raise ComparisonError(f"--where '{text}': {comparison} takes one number, found '{rest}'")
    return Condition(dimension=dimensions.checked(name), comparison=comparison, values=values)


def spelled(value: object) -> str:
    """Return a value of a dimension as users write it: `true` and `false` as in YAML."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _is_value(value: object, text: str) -> bool:
    if isinstance(value, bool):
        return spelled(value) == text.lower()
    if isinstance(value, int | float):
        return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None and value == float(text)
    return fnmatchcase(str(value), text)


def ordered(frame: pl.DataFrame, names: Sequence[str], orders: Mapping[str, Sequence[object]]) -> pl.DataFrame:
    """Return `frame` sorted by dimensions: labels as the specification lists them, guests by size, others by value."""
    keys: list[pl.Expr] = []
    for name in names:
        if name in orders:
            known = list(orders[name])
            rest = [value for value in frame[name].unique().sort().to_list() if value not in known]
            ranks = {value: rank for rank, value in enumerate([*known, *rest])}
            keys.append(pl.col(name).replace_strict(ranks, return_dtype=pl.Int64))
        keys.append(pl.col(name))
    return frame.sort(keys, nulls_last=True, maintain_order=True) if keys else frame


def default_orders(specs: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> dict[str, list[object]]:
    """Return the order of labels as specifications list them."""
    policies = [policy["name"] for spec in specs for policy in spec.get("policies", ()) if isinstance(policy, Mapping)]
    workloads = [case["label"] for spec in specs for case in spec.get("workloads", ()) if isinstance(case, Mapping)]
    return {"run": list(runs), "policy": list(dict.fromkeys(policies)), "workload": list(dict.fromkeys(workloads))}


def guest_order(cells: pl.DataFrame) -> list[object]:
    """Return the guests' labels by size, as tables show them."""
    return cells.select("guest", *GUEST).unique().sort(*GUEST, "guest")["guest"].unique(maintain_order=True).to_list()


def hidden_dimensions(
    cells: pl.DataFrame, dimensions: Dimensions, *, rows: Sequence[str], shown: Sequence[str]
) -> list[str]:
    """Return a warning per label of which a table cell mixes several: which, how many, what takes them apart.

    The baseline's own cells do not count: they are there to be compared with.
    """
    warnings = []
    for label in ("run", "policy", "workload", "guest"):
        others = cells.filter(~pl.col("_is_baseline"))
        most = _most_mixed(others, label, shown)
        if most < 2:
            continue
        finer = dimensions.finer(label)
        counts = {name: _most_mixed(dimensions.attach(others, finer), name, shown) for name in finer}
        parts = ", ".join(f"{name}: {count}" for name, count in counts.items() if count > 1)
        example = spelled(others[label].sort()[0])
        warnings.append(
            f"cells of this table are means over up to {most} values of {label}{f' ({parts})' if parts else ''}. "
            f"To take them apart: --rows {','.join([*rows, label])}, or --where {label}='{example}'"
        )
    return warnings


def _most_mixed(cells: pl.DataFrame, name: str, shown: Sequence[str]) -> int:
    """Return how many values of a dimension the most mixed table cell holds."""
    if name in shown:
        return 1
    counts = cells.group_by(list(shown)).agg(pl.col(name).n_unique())[name]
    most = counts.max()
    return most if isinstance(most, int) else 0
