"""What a table hides: dimensions of which one table cell mixes several values."""

from collections.abc import Sequence

import polars as pl

from results.compare.dimensions import Dimensions, spelled


def hidden_dimensions(
    cells: pl.DataFrame,
    dimensions: Dimensions,
    *,
    rows: Sequence[str],
    shown: Sequence[str],
) -> list[str]:
    """Return a warning per label of which a table cell mixes several: which, how many, what takes them apart.

    The baseline's own cells do not count: they are there to be compared with.
    """
    warnings = []
    for label in ("run", "policy", "workload", "guest"):
        others = cells.filter(~pl.col("_is_baseline"))
        most = _most(others, label, shown)
        if most < 2:
            continue
        finer = dimensions.finer(label)
        counts = {name: _most(dimensions.attach(others, finer), name, shown) for name in finer}
        parts = ", ".join(f"{name}: {count}" for name, count in counts.items() if count > 1)
        example = spelled(others[label].sort()[0])
        warnings.append(
            f"cells of this table are means over up to {most} values of {label}{f' ({parts})' if parts else ''}. "
            f"To take them apart: --rows {','.join([*rows, label])}, or --where {label}='{example}'",
        )
    return warnings


def _most(cells: pl.DataFrame, name: str, shown: Sequence[str]) -> int:
    """Return how many values of a dimension the most mixed table cell holds."""
    if name in shown:
        return 1
    counts = cells.group_by(list(shown)).agg(pl.col(name).n_unique())[name]
    most = counts.max()
    return most if isinstance(most, int) else 0
