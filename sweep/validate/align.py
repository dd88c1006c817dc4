"""Pairs the reactions of two sides that saw the same events.

Reactions of one kind on one page are paired in order; a pair is good if its events are not far apart. Exact positions
are not asked for: a recorder notes an access when it succeeds, which is after the reactions that made it succeed, and
an interrupt in between may postpone it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

EVENTS_APART_MAX: Final = 400
"""Events between the two of a pair: more than an interrupt handler touches, less than a fork does (assumption)."""

_KEY: Final = ("kind", "gfn", "level", "role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Which reactions have a partner: `real[row]` and `ours[row]`, in the order of the two tables."""

    real: npt.NDArray[np.bool_]
    ours: npt.NDArray[np.bool_]


def align(real: pl.DataFrame, ours: pl.DataFrame, *, apart_max: int = EVENTS_APART_MAX) -> Alignment:
    """Pair the reactions of `real` and `ours`, each at most once."""
    both = pl.concat([real.with_columns(side=pl.lit(0)), ours.with_columns(side=pl.lit(1))])
    both = both.with_columns(key=pl.struct(_KEY).rank("dense"), place=pl.int_range(pl.len()))
    both = both.sort("key", "event", "side", maintain_order=True)
    key, event, side = both["key"].to_list(), both["event"].to_list(), both["side"].to_list()
    matched = np.zeros(both.height, dtype=np.bool_)
    places = both["place"].to_numpy()
    waiting: tuple[list[int], list[int]] = ([], [])
    heads = [0, 0]
    current = None
    for row in range(both.height):
        if key[row] != current:
            current, waiting, heads = key[row], ([], []), [0, 0]
        here, there = side[row], 1 - side[row]
        queue = waiting[there]
        while heads[there] < len(queue) and event[row] - event[queue[heads[there]]] > apart_max:
            heads[there] += 1
        if heads[there] < len(queue):
            matched[places[queue[heads[there]]]] = matched[places[row]] = True
            heads[there] += 1
        else:
            waiting[here].append(row)
    return Alignment(real=matched[: real.height], ours=matched[real.height :])
