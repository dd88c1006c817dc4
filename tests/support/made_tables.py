"""Tables of a made-up run, without any file."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from engine.vocabulary import COUNTER_NAMES
from results.store.labels import LabelledRun
from results.store.parts import Part


class Made(LabelledRun):
    """Tables of a made-up run: every policy on every guest under every workload, one window each."""

    def __init__(self, *, policies: tuple[str, ...], workloads: int, guests: int, replicates: int) -> None:
        names = pl.DataFrame({"policy": policies})
        places = pl.DataFrame({"workload": [f"load {i}" for i in range(workloads)]})
        sizes = pl.DataFrame(
            {
                "guest": [f"guest {i}" for i in range(guests)],
                "vcpus": [1 << i % 4 for i in range(guests)],
                "memory_mib": [256 * (1 + i // 4) for i in range(guests)],
            },
            schema_overrides={"vcpus": pl.Int32, "memory_mib": pl.Int64},
        )
        rows = places.join(sizes, how="cross").join(pl.DataFrame({"replicate": range(replicates)}), how="cross")
        rows = rows.with_columns(trace_digest=pl.format("{}", pl.int_range(pl.len()))).join(names, how="cross")
        draw = np.random.default_rng(1)
        counters = {name: draw.integers(1_000, 1_000_000, rows.height) for name in COUNTER_NAMES}
        counters["fatal"] = np.zeros(rows.height, dtype=np.int64)
        counters["guest_run_ns"] = draw.integers(900_000_000, 1_000_000_000, rows.height)
        self.rows = rows.with_columns(
            cell_id=pl.format("{}", pl.int_range(pl.len())),
            host_paging=pl.lit("shadow"),
            clear_instruction=pl.lit("stosq"),
            write_protect_instruction=pl.lit("lock_and"),
            page_cache_share=pl.lit(0.5),
            seed=pl.lit(1, dtype=pl.UInt64),
            events=pl.lit(1, dtype=pl.Int64),
            native_seconds=pl.lit(1.0),
            window=pl.lit(0, dtype=pl.Int32),
            window_ns=pl.lit(1_000_000_000, dtype=pl.Int64),
            start_ns=pl.lit(0, dtype=pl.Int64),
            length_ns=pl.lit(1_000_000_000, dtype=pl.Int64),
            **{name: pl.Series(values) for name, values in counters.items()},
        )

    def scan(self, table: str, parts: Sequence[Part] | None = None) -> pl.LazyFrame:
        """Return the table of cells or that of windows: a cell has one window."""
        assert (table in {"cells", "windows"}, parts) == (True, None)
        return self.rows.lazy()

    def pieces(self, tables: Sequence[str]) -> list[list[pl.LazyFrame]]:
        """Return each table in one piece."""
        return [[self.scan(table)] for table in tables]

    def failures(self) -> pl.LazyFrame:
        """Return no failure."""
        names = ("error", "message", "cell_id", "policy", "workload", "guest", "replicate")
        return pl.LazyFrame(schema=dict.fromkeys(names, pl.String))
