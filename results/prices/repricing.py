"""Elapsed times of all cells under many price lists at once: the formulas of pricing over a matrix of samples.

A sample is a row of numbers as `sampling.parameters` orders them. Windows go through in blocks that fit into
the cache, for there are millions of (window, sample) pairs; only the sums per cell are kept. Times are not rounded to
whole ns per window as there, which moves a cell by less than 1 ns per window.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from results.prices.cost_model import CostModel
from results.prices.sampling import cycles_of
from results.prices.waiting import queue_ahead, think_ratio
from results.statistics.student_t import Floats
from results.store.columns import PAGINGS

CELL: Final = (
    "cell_id",
    "policy",
    "workload",
    "guest",
    "vcpus",
    "memory_mib",
    "replicate",
    "trace_digest",
    "host_paging",
)
_BLOCK_ROWS: Final = 256
_BLOCK_SAMPLES: Final = 32
"""256 x 32 doubles are 64 KiB: a few of them fit into a second-level cache. Eight times as many take 9 x longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Samples of one kind of paging: ns per count, of which with mmu_lock held, and the scale of native time."""

    each: Floats
    locked: Floats
    scale: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The windows of all cells of one kind of paging and one number of vCPUs."""

    paging: str
    vcpus: int
    cell: npt.NDArray[np.int64]
    counts: Floats
    length: Floats
    busy: Floats
    acquired: npt.NDArray[np.bool_]


class Repricer:
    """The windows of a run, read once, and priced under as many samples as are wanted."""

    def __init__(self, windows: pl.LazyFrame, model: CostModel) -> None:
        counters = {paging: [cost.counter for cost in model.costs(paging)] for paging in PAGINGS}
        needed = ("guest_run_ns", "lock_acquisitions", "fatal")
        wanted = dict.fromkeys([*counters["shadow"], *counters["nested"], *needed])
        rows = windows.select(*CELL, "length_ns", *wanted).collect(engine="streaming")
        dies = rows.group_by("cell_id").agg(dies=pl.col("fatal").sum() > 0)
        cells = rows.select(CELL).unique(subset="cell_id").join(dies, on="cell_id")
        self.cells: pl.DataFrame = cells.sort("cell_id")
        rank = pl.DataFrame({"cell_id": self.cells["cell_id"], "_cell": np.arange(self.cells.height)})
        rows = rows.drop([name for name in CELL if name not in {"cell_id", "vcpus", "host_paging"}]).join(
            rank, on="cell_id"
        )
        self._groups = [
            _Group(
                paging=str(paging),
                vcpus=int(str(vcpus)),
                cell=part["_cell"].to_numpy().astype(np.int64),
                counts=part.select(pl.col(counters[str(paging)]).cast(pl.Float64)).to_numpy(),
                length=part["length_ns"].cast(pl.Float64).to_numpy(),
                busy=part["guest_run_ns"].cast(pl.Float64).to_numpy(),
                acquired=(part["lock_acquisitions"] > 0).to_numpy(),
            )
            for (paging, vcpus), part in rows.sort("host_paging", "vcpus", "_cell").group_by("host_paging", "vcpus")
        ]
        self._model = model
        self._shares = {paging: np.array([cost.locked_share for cost in model.costs(paging)]) for paging in PAGINGS}

    def elapsed_ns(self, samples: Floats) -> Floats:
        """Return the elapsed time of each cell (row of `cells`) under each sample."""
        elapsed = np.zeros((self.cells.height, samples.shape[0]))
        for start in range(0, samples.shape[0], _BLOCK_SAMPLES):
            block = slice(start, start + _BLOCK_SAMPLES)
            prices = self._prices(samples[block])
            for group in self._groups:
                _add_elapsed(elapsed[:, block], group, prices[group.paging])
        return elapsed

    def _prices(self, samples: Floats) -> dict[str, Prices]:
        # cpu_ghz and native_time_scale are the first numbers of a sample.
        ghz, scale = samples[:, 0], samples[:, 1]
        return {
            paging: Prices(each=cycles / ghz, locked=cycles * self._shares[paging][:, None] / ghz, scale=scale)
            for paging, cycles in cycles_of(self._model, samples).items()
        }


def _add_elapsed(elapsed: Floats, group: _Group, prices: Prices) -> None:
    """Add the windows of a group, whose rows are sorted by cell, to the times of their cells."""
    for start in range(0, group.cell.size, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        times = _window_times(group, rows, prices)
        cells, firsts = np.unique(group.cell[rows], return_index=True)
        elapsed[cells] += np.add.reduceat(times, firsts, axis=0)


def _window_times(group: _Group, rows: slice, prices: Prices) -> Floats:
    """Return the elapsed times of some windows under all samples, as results.prices.pricing defines them."""
    counts, length, busy = group.counts[rows], group.length[rows, None], group.busy[rows, None]
    native = length * prices.scale
    concurrency = np.clip(busy * prices.scale / np.maximum(native, 1.0), 1.0, group.vcpus)
    elapsed = counts @ prices.each
    elapsed /= concurrency
    elapsed += native
    if group.vcpus > 1 and prices.locked.any():
        locked = counts @ prices.locked
        think = np.maximum(elapsed * group.vcpus - locked, 0.0)
        waiting = queue_ahead(think_ratio(think, locked), group.vcpus)
        waiting *= locked
        waiting /= concurrency
        elapsed += np.where(group.acquired[rows, None], waiting, 0.0)
    times: Floats = elapsed
    return times
