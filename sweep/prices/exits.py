"""Reads `exits-*.parquet`: one row per VM exit of a real KVM, with its instructions and everything that it did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.exit_codes import TraceError
from sweep.prices.tallies import FEATURES, as_tally

BATCH_ROWS: Final = 1 << 17
"""Rows in memory at a time."""
_LENGTHS: Final = ("insn", "handler")
_NEEDED: Final = ("workload", "exit", *FEATURES, *_LENGTHS)
NOT_OF_A_GUEST: Final = ("NPF",)
"""Exits of nested paging: a recording that has them is of another MMU."""


def open_parquet(path: Path, needed: tuple[str, ...]) -> pq.ParquetFile:
    """Open a file and look whether it has the columns that are needed.

    Raises:
        TraceError: it is no Parquet file, or a column is missing.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise TraceError(
            f"{path}: no Parquet file ({str(error).splitlines()[0]}). Record it again or leave it out"
        ) from error
    missing = [name for name in needed if name not in file.schema_arrow.names]
    if missing:
        raise TraceError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(file.schema_arrow.names)}. "
            "See docs/how-to/measure-prices.md"
        )
    return file


def batches(path: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file in pieces, with the needed columns and those of the optional ones that it has.

    Raises:
        TraceError: the file can't be used.
    """
    file = open_parquet(path, needed)
    there = [name for name in optional if name in file.schema_arrow.names]
    try:
        for batch in file.iter_batches(BATCH_ROWS, columns=[*needed, *there]):
            yield pl.DataFrame(pl.from_arrow(batch))
    except (OSError, pa.ArrowInvalid) as error:
        raise TraceError(f"{path}: can't be read ({str(error).splitlines()[0]}). Copy or record it again") from error


def exit_tallies(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the tallies of a recording of exits.

    Raises:
        TraceError: the file can't be used, or is no recording of a shadow MMU.
    """
    recording = path.stem.removeprefix("exits-")
    for rows in batches(path, _NEEDED, ("path",)):
        wrong = set(rows["exit"].unique()) & set(NOT_OF_A_GUEST)
        if wrong:
            raise TraceError(
                f"{path}: has exits {', '.join(sorted(wrong))}, which only nested paging has; prices of a shadow MMU "
                "are measured without it. Leave the file out"
            )
        if rows.filter(pl.col("insn").is_null() | (pl.col("insn") < 0)).height:
            raise TraceError(f"{path}: an exit has no instructions, or fewer than none. Record it again")
        whole = rows.with_columns(path=_path_of_fault(rows), way_out=pl.col("insn") - pl.col("handler"))
        yield as_tally(whole, recording=recording, source="exits")


def _path_of_fault(rows: pl.DataFrame) -> pl.Expr:
    """Return how a fault was solved: as the recording says, else as what it did says; null for other exits."""
    known = pl.col("path") if "path" in rows.columns else pl.lit(None, pl.String)
    guessed = (
        pl.when(pl.col("exit") != "PF")
        .then(None)
        .when(pl.col("pw") > 0)
        .then(pl.lit("emulate"))
        .when((pl.col("emul") > 0) & (pl.col("zap") > 0))
        .then(pl.lit("unprotect_retry"))
        .when(pl.col("spte") > 0)
        .then(pl.lit("fixed"))
        .otherwise(pl.lit("inject_or_spurious"))
    )
    return pl.coalesce(known, guessed)
