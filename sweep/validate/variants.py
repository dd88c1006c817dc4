"""Reads `variants.csv` of a recording: the policy knobs of each KVM that was measured, as policies of ours."""

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.fields import FieldError
from engine.knobs import Policy
from sweep.exit_codes import SweepError

_MISALIGNED: Final = {
    "6.1": "low_byte_allowed",
    "pre-2011": "before_2011",
    "every write shorter than 8 bytes": "under_8_bytes",
    "never": "never",
}
_BASE: Final = Policy(name="kvm-6.1", summary="KVM as it was measured", source="Linux 6.1")
"""All knobs at their defaults, which are those of KVM 6.1."""
_IGNORED: Final = ("variant", "kvm_module")
"""Columns that hold no knob."""


class VariantError(SweepError):
    """A line of variants.csv says something that no knob expresses."""


def load_variants(path: Path) -> dict[str, Policy]:
    """Read variants.csv: variant name -> policy, on the base of kvm-6.1.

    Raises:
        VariantError: a column is missing or unknown, or a cell has a value that is not documented.
    """
    if not path.is_file():
        raise VariantError(f"{path}: no such file. It names the knobs of each policy that was measured")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise VariantError(f"{path}: no line but the header")
    wanted = {"variant", *_KNOBS}
    missing, unknown = wanted - set(rows[0]), set(rows[0]) - wanted - set(_IGNORED)
    if missing or unknown:
        words = [f"no column {name!r}" for name in sorted(missing)] + [f"unknown {name!r}" for name in sorted(unknown)]
        raise VariantError(f"{path}:1: {', '.join(words)}. Allowed: {', '.join(sorted({*wanted, *_IGNORED}))}")
    return {row["variant"]: _policy(path, line, row) for line, row in enumerate(rows, start=2)}


def _policy(path: Path, line: int, row: Mapping[str, str]) -> Policy:
    changes: dict[str, Any] = {}
    for column, (knob, parse) in _KNOBS.items():
        try:
            changes[knob] = parse(row[column].strip())
        except (KeyError, ValueError, AttributeError) as error:
            found = row.get(column)
            raise VariantError(f"{path}:{line}: {column}: found {found!r}; {_help(parse)}") from error
    try:
        return _BASE.override(row["variant"], changes)
    except FieldError as error:
        raise VariantError(f"{path}:{line}: {error}") from error


def _help(parse: Callable[[str], Any]) -> str:
    words = (parse.__doc__ or "").strip()
    return f"allowed: {words[0].lower()}{words[1:]}"


def _yes_no(text: str) -> bool:
    """Yes, no, or 'does not apply (...)'."""
    if text.startswith("does not apply"):
        return False
    return {"yes": True, "no": False}[text]


def _threshold(text: str) -> int:
    """Number of stores, or never."""
    return 0 if text == "never" else int(text)


def _scope(text: str) -> str:
    """One of per_page, per_vcpu_2011."""
    return {"per_page": "page", "per_vcpu_2011": "vcpu"}[text]


def _misaligned(text: str) -> str:
    """One of 6.1 (...), pre-2011 (...), every write shorter than 8 bytes, or never."""
    return _MISALIGNED[text.split(" (", maxsplit=1)[0]]


def _rep_limit(text: str) -> int:
    """One of up_to_1024, one_per_exit."""
    return {"up_to_1024": 1024, "one_per_exit": 1}[text]


def _pool(text: str) -> int:
    """Number of shadow pages, with ' (default)' behind it if it follows from the size of the guest."""
    found = re.fullmatch(r"(\d+)( \(default\))?", text)
    if found is None:
        raise ValueError(text)
    return 0 if found.group(2) else int(found.group(1))


def _large(text: str) -> bool:
    """One of 2m, 4k."""
    return {"2m": True, "4k": False}[text]


_KNOBS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "flood_threshold": ("flood_threshold", _threshold),
    "flood_mode": ("flood_scope", _scope),
    "flood_level1": ("flood_level1", _yes_no),
    "flood_clear_on_walk": ("flood_clear_on_walk", _yes_no),
    "flood_reset_on_other_faults": ("flood_reset_on_fault", _yes_no),
    "accessed_bit_exception": ("flood_accessed_exception", _yes_no),
    "misaligned_rule": ("misaligned", _misaligned),
    "unsync": ("unsync", _yes_no),
    "retry_unprotect": ("retry_untagged", _yes_no),
    "rep_emulation": ("rep_limit", _rep_limit),
    "refill_spte_from_written_gpte": ("update_written_spte", _yes_no),
    "pte_prefetch": ("prefetch", _yes_no),
    "pool_pages": ("pool_pages", _pool),
    "host_pages": ("host_large_pages", _large),
}
"""Column of variants.csv -> knob and how its words are read."""
