"""Least squares for what never happens alone: how many instructions each thing adds to an exit or to a total."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from sweep.prices.tallies import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Instructions = sum of feature * coefficient, over all rows."""

    name: str
    n: int
    coefficients: dict[str, float]
    """Feature -> instructions; `const` is what every row has."""
    errors: dict[str, float]
    """Feature -> standard error of its coefficient."""
    mean: float
    mean_error: float
    """Mean absolute error in instructions."""


CONST: Final = "const"


def fit(name: str, rows: pl.DataFrame, *, target: str, features: Sequence[str]) -> Fit | None:
    """Return the least-squares fit of tallies, each weighed with its number of exits; None where nothing can be told.

    Features that never happen in these rows are left out.
    """
    rows = rows.filter(pl.col(target).is_not_null())
    there = [feature for feature in features if rows.height and rows[feature].max() != rows[feature].min()]
    if rows.height <= len(there) + 1:
        return None
    counts = rows["n"].to_numpy().astype(np.float64)
    matrix = np.column_stack([np.ones(rows.height), *(rows[feature].to_numpy() for feature in there)])
    wanted = rows[target].to_numpy().astype(np.float64)
    found, errors = solve(matrix, wanted, counts)
    names = [CONST, *there]
    off = np.abs(matrix @ found - wanted)
    return Fit(
        name=name,
        n=int(counts.sum()),
        coefficients=dict(zip(names, found.tolist(), strict=True)),
        errors=dict(zip(names, errors.tolist(), strict=True)),
        mean=float(np.average(wanted, weights=counts)),
        mean_error=float(np.average(off, weights=counts)),
    )


def solve(matrix: Floats, wanted: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weighted least-squares solution and the standard errors of its coefficients."""
    root = np.sqrt(weights)
    found: Floats = np.linalg.lstsq(matrix * root[:, None], wanted * root, rcond=None)[0].astype(np.float64)
    freedom = max(weights.sum() - matrix.shape[1], 1.0)
    variance = float((weights * (wanted - matrix @ found) ** 2).sum() / freedom)
    spread = np.linalg.pinv((matrix * weights[:, None]).T @ matrix)
    errors: Floats = np.sqrt(np.maximum(np.diag(spread), 0.0) * variance)
    return found, errors


def solve_without_negatives(matrix: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Return the solution with every coefficient at 0 or above: nothing gives instructions back.

    The most negative coefficient is set to 0 and the others are solved anew, until none is negative.
    """
    found = np.zeros(matrix.shape[1])
    kept = list(range(matrix.shape[1]))
    while kept:
        part, _ = solve(matrix[:, kept], wanted, weights)
        if part.min() >= 0:
            found[kept] = part
            break
        kept.pop(int(part.argmin()))
    return found
