"""Measures folders of recordings: which files there are, what each tells, and all of it together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from sweep.exit_codes import TraceError
from sweep.prices.events import fault_tallies
from sweep.prices.exits import exit_tallies
from sweep.prices.functions import Functions
from sweep.prices.paths import CLEAN_PATHS, Length, length_of, measure
from sweep.prices.regression import Fit, fit
from sweep.prices.rules import STORE_WITH_UNSYNC, STORE_WITHOUT_UNSYNC, Measurements, Price, prices
from sweep.prices.tallies import add_up
from sweep.prices.totals import Totals, fit_totals

_STORES: Final = (pl.col("path") == "emulate") & (pl.col("emul") == 1)
_FITS: Final = (
    (
        "fixed faults",
        pl.col("path") == "fixed",
        "handler",
        ("pref", "get", "created", "zap", "zap_entries", "unsync", "syncp", "sync_entries", "rflush"),
    ),
    ("emulated stores", _STORES, "handler", ("spte", "zap", "zap_entries", "pw", "rflush")),
    ("CR3 loads", pl.col("exit") == "CR3_WRITE", "insn", ("root_miss", "created", "syncp", "sync_entries", "zap")),
    ("exits by INVLPG", pl.col("exit") == "INVLPG", "insn", ("pref", "rflush", "gflush")),
)
"""Name, exits, length and features of each fit over recordings of exits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What folders of recordings say about a KVM's paths."""

    files: list[Path]
    lengths: list[Length]
    fits: list[Fit]
    totals: list[Totals]
    prices: list[Price]


def measure_folders(folders: Sequence[Path], *, say: Callable[[str], None]) -> Measured:
    """Read all recordings of some folders.

    Raises:
        TraceError: a folder has no recording, or one can't be used.
    """
    found = [_files(folder) for folder in folders]
    files = [path for some in found for path in some]
    tallies = add_up(_tallies(files, say))
    lengths = [length for clean in CLEAN_PATHS for length in measure(tallies, clean)]
    lengths += _by_unsync(tallies)
    exits = tallies.filter(pl.col("source") == "exits")
    fits = [
        made
        for name, chosen, target, features in _FITS
        if (made := fit(name, exits.filter(chosen), target=target, features=features)) is not None
    ]
    totals = [one for folder in folders if (one := fit_totals(folder, say=say)) is not None]
    functions = [Functions(path, tallies) for path in files if path.name == "functions.parquet"]
    measurements = Measurements(
        lengths={one.path: one for one in lengths if one.recording == "all"},
        fits={one.name: one for one in fits},
        totals=totals[0].coefficients if totals else {},
        trapped_store=functions[0].of_trapped_store() if functions else 0.0,
        uncovered=functions[0].uncovered() if functions else 0.0,
        locked_of_spte=functions[0].locked_of_spte() if functions else 0.0,
        locked_of_invlpg=functions[0].locked_of_invlpg() if functions else 0.0,
        decoding=functions[0].decoding()["cr"] if functions else 0.0,
    )
    return Measured(files=files, lengths=lengths, fits=fits, totals=totals, prices=prices(measurements))


def _files(folder: Path) -> list[Path]:
    """Return the recordings of a folder that prices are read from."""
    if not folder.is_dir():
        raise TraceError(f"{folder}: no such folder. Give one with events/nested-*.parquet or exits-*.parquet")
    exits = sorted(folder.glob("exits-*.parquet"))
    known = {path.stem.removeprefix("exits-") for path in exits}
    events = sorted((folder / "events").glob("nested-*.parquet"))
    # Where the exits of a recording are there, its events would count every fault a second time.
    events = [path for path in events if path.stem.removeprefix("nested-") not in known]
    functions = [path for path in (folder / "functions.parquet",) if path.is_file()]
    if not exits and not events:
        raise TraceError(
            f"{folder}: no events/nested-*.parquet and no exits-*.parquet. See docs/how-to/measure-prices.md"
        )
    return [*events, *exits, *functions]


def _tallies(files: Sequence[Path], say: Callable[[str], None]) -> Iterator[pl.DataFrame]:
    for path in files:
        say(f"{path}: reading")
        if path.name.startswith("exits-"):
            yield from exit_tallies(path)
        elif path.name.startswith("nested-"):
            yield from fault_tallies(path)


def _by_unsync(tallies: pl.DataFrame) -> list[Length]:
    """Return the length of an emulated store in recordings of events, by whether a page ever goes out of sync there.

    Where none does, the handler first maps the page that is written, read-only.
    """
    events = tallies.filter(pl.col("source") == "events")
    unsync = events.group_by("recording").agg(pl.col("unsync").max())
    quiet = [pl.col(name) == 0 for name in ("get", "zap", "syncp")]
    stores = events.filter((pl.col("path") == "emulate") & (pl.col("pw") == 1), *quiet)
    found = []
    for name, chosen in ((STORE_WITHOUT_UNSYNC, pl.col("unsync") == 0), (STORE_WITH_UNSYNC, pl.col("unsync") > 0)):
        rows = stores.join(unsync.filter(chosen), on="recording", how="semi")
        if rows.height:
            found.append(length_of(rows, "handler", path=name))
    return found
