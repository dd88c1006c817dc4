"""What a directory of recordings holds: event files, variants and counters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from engine.guests import Guest
from engine.knobs import Policy
from sweep.exit_codes import TraceError
from sweep.validate.variants import load_variants

GUEST: Final = Guest(vcpus=1, memory_mib=128)
"""The machine that was recorded: one vCPU and 128 MB (the recordings' own README, section 2)."""
WHOLE: Final = "whole"
"""Row of the counters that includes the boot, which differs between nested and direct runs."""
_COUNTER_FILES: Final = ("counters.csv", "counters-traced.csv")
_DEFAULT_GUEST: Final = "init_on_alloc=1"


@dataclass(frozen=True)
class RecordingSet:
    """A directory with `events/*.parquet`, `counters.csv`, `counters-traced.csv` and `variants.csv`."""

    directory: Path

    def check(self) -> None:
        """Raise TraceError unless the directory has the documented layout."""
        wanted = [self.directory / name for name in (*_COUNTER_FILES, "variants.csv", "events")]
        missing = [str(path) for path in wanted if not path.exists()]
        if missing:
            raise TraceError(f"{self.directory}: no {', '.join(missing)}. See docs/how-to/record-kvm.md")
        if not self.nested and not self.direct:
            raise TraceError(f"{self.directory}/events: no nested-*.parquet and no direct-*.parquet")
        unknown = [path for path in self.nested if self.variant_of(path) not in self.variants]
        if unknown:
            names = ", ".join(sorted(self.variants))
            raise TraceError(f"{unknown[0]}: no such variant in variants.csv. Known: {names}")

    @property
    def nested(self) -> list[Path]:
        """Recordings of a guest under KVM."""
        return sorted((self.directory / "events").glob("nested-*.parquet"))

    @property
    def direct(self) -> list[Path]:
        """Recordings of a guest without any hypervisor."""
        return sorted((self.directory / "events").glob("direct-*.parquet"))

    @cached_property
    def variants(self) -> dict[str, Policy]:
        """Variant -> policy."""
        return load_variants(self.directory / "variants.csv")

    @staticmethod
    def variant_of(path: Path) -> str:
        """Return the variant that a nested file's name gives."""
        return path.stem.removeprefix("nested-")

    @cached_property
    def counters(self) -> pl.DataFrame:
        """Counters of runs without tracing, of the guest that the recordings are of."""
        return _counters(self.directory / "counters.csv")

    @cached_property
    def counters_traced(self) -> pl.DataFrame:
        """Counters of the very runs that were recorded."""
        return _counters(self.directory / "counters-traced.csv")


def _counters(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path)
    missing = {"variant", "workload"} - set(table.columns)
    if missing:
        raise TraceError(f"{path}: no column {', '.join(sorted(missing))}; found {', '.join(table.columns)}")
    if "guest" in table.columns and table["guest"].n_unique() > 1:
        table = table.filter(pl.col("guest") == _DEFAULT_GUEST)
    return table


def real_counts(table: pl.DataFrame, *, variant: str, workload: str) -> Mapping[str, int] | None:
    """Return the counters of one run, or None if it was not measured."""
    rows = table.filter((pl.col("variant") == variant) & (pl.col("workload") == workload)).rows(named=True)
    if not rows:
        return None
    return {name: value for name, value in rows[0].items() if isinstance(value, int)}
