"""The paths of a KVM whose lengths are read directly: exits in which one thing happened and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from sweep.prices.tallies import FEATURES, quantiles

ALL: Final = "all"
"""In place of a recording's name: all of them together."""
_QUIET: Final = ("spte", "emul")
"""Features that say nothing beside the path itself."""


def only(path: str | None, **counts: int) -> pl.Expr:
    """Return what selects the exits of a path in which these things happened, so many times, and nothing else."""
    chosen = pl.lit(True) if path is None else pl.col("path") == path
    for feature in FEATURES:
        if feature in counts:
            chosen &= pl.col(feature) == counts[feature]
        elif feature not in _QUIET:
            chosen &= pl.col(feature) == 0
    return chosen


def _exit(name: str) -> pl.Expr:
    return pl.col("exit") == name


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPath:
    """Which exits a path is, and which of their lengths counts."""

    name: str
    source: str
    """`exits` or `events`: the kind of recording that shows it."""
    chosen: pl.Expr
    length: str
    """`insn`, `handler`, `way_in`, `way_out`, or `iteration`: the handler divided by its trapped stores."""


_FLUSHED: Final = {"rflush": 1, "gflush": 1}


def _perhaps_flushed(path: str | None, **counts: int) -> pl.Expr:
    """Return what selects a path whether or not it asked for a flush."""
    return only(path, **counts) | only(path, **counts, **_FLUSHED)


_HANDLED: Final = pl.col("way_out").is_not_null()
_REP: Final = pl.col("pw") == 512
_RETRIED: Final = (pl.col("path") == "unprotect_retry") & (pl.col("zap") == 1)
_STORE: Final = only("emulate", pw=1)

_EVENTS: Final = (
    ("fault fixed, nothing else: handler", only("fixed") & _HANDLED, "handler"),
    ("fault fixed, nothing else: way in", only("fixed"), "way_in"),
    ("fault fixed, nothing else: way out", only("fixed"), "way_out"),
    ("fault injected: handler", only("inject_or_spurious"), "handler"),
    ("fault injected: until the guest's handler", only("inject_or_spurious"), "way_out"),
    ("one store emulated: handler", _STORE & _HANDLED, "handler"),
    ("512 stores of a rep emulated, one zap: handler", _REP & (pl.col("zap") == 1), "handler"),
    ("512 stores of a rep emulated: one iteration", _REP, "iteration"),
    ("page zapped and instruction retried: handler", _RETRIED, "handler"),
    ("fault fixed, a shadow page made: handler", only("fixed", get=1, created=1), "handler"),
)
_EXITS: Final = (
    ("fault fixed, one spte", only("fixed", spte=1)),
    ("fault fixed, one spte, its table out of sync", only("fixed", spte=1, unsync=1)),
    ("guest fault injected", only("inject_or_spurious")),
    ("store to a table page emulated", only("emulate", pw=1, spte=0)),
    ("store to a table page emulated, then a flush", only("emulate", pw=1, spte=0, **_FLUSHED)),
    ("store to a table page emulated, mapped read-only first", _perhaps_flushed("emulate", pw=1, spte=1)),
    ("store emulated, one zap", _perhaps_flushed("emulate", pw=1, zap=1, zap_entries=1)),
    ("512 stores of a rep emulated, one zap", _REP & (pl.col("zap") == 1)),
    ("unprotect and retry, one zap", _RETRIED),
    ("fault fixed, a shadow page made", _perhaps_flushed("fixed", spte=1, get=1, created=1)),
    ("fault fixed, a shadow page looked up", _perhaps_flushed("fixed", spte=1, get=1)),
    ("CR3 load, cached root, nothing to sync", _exit("CR3_WRITE") & only(None, root_hit=1)),
    ("CR3 load, new root", _exit("CR3_WRITE") & _perhaps_flushed(None, root_miss=1, get=1, created=1)),
    ("CR3 load, root found in the hash", _exit("CR3_WRITE") & only(None, root_miss=1, get=1)),
    ("CR3 read", _exit("CR3_READ")),
    ("INVLPG, no spte dropped", _exit("INVLPG") & only(None)),
    ("INVLPG, one flush", _exit("INVLPG") & only(None, **_FLUSHED)),
    ("I/O", _exit("IOIO")),
    ("external interrupt", _exit("INTR")),
    ("interrupt window", _exit("VINTR")),
    ("CPUID", _exit("CPUID")),
)
_PARTS: Final = (("", "insn"), (": handler", "handler"), (": outside of the handler", "way_out"))
CLEAN_PATHS: Final = (
    *(CleanPath(name=name, source="events", chosen=rows, length=of) for name, rows, of in _EVENTS),
    *(
        CleanPath(name=name + part, source="exits", chosen=rows, length=of)
        for name, rows in _EXITS
        for part, of in _PARTS
    ),
    CleanPath(
        name="512 stores of a rep emulated: one iteration, whole", source="exits", chosen=_REP, length="iteration"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The length of a path in instructions: how many exits, and their median, first and last tenth."""

    path: str
    recording: str
    """Name of a recording, or `all`."""
    n: int
    p10: float
    median: float
    p90: float


def measure(tallies: pl.DataFrame, clean: CleanPath) -> Iterator[Length]:
    """Yield the length of a path in all recordings together, then in each that has it."""
    rows = tallies.filter((pl.col("source") == clean.source) & clean.chosen)
    rows = rows.with_columns(iteration=pl.col("handler") / pl.col("pw")).filter(pl.col(clean.length).is_not_null())
    if rows.is_empty():
        return
    yield length_of(rows, clean.length, path=clean.name)
    for (name,), part in sorted(rows.group_by("recording"), key=lambda one: str(one[0])):
        yield length_of(part, clean.length, path=clean.name, recording=str(name))


def length_of(rows: pl.DataFrame, length: str, *, path: str, recording: str = ALL) -> Length:
    """Return the length of the exits in `rows`, of which there is at least one."""
    p10, median, p90 = quantiles(rows[length], rows["n"], (0.1, 0.5, 0.9))
    return Length(path=path, recording=recording, n=int(rows["n"].sum()), p10=p10, median=median, p90=p90)
