"""Checks that the specification which a run keeps is one, before verbs look into it: the run may be a stranger's."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sweep.exit_codes import DamagedError

_TEXTS: Final = ("name", "baseline", "costs")
_LISTS: Final[Mapping[str, tuple[str, ...]]] = {"workloads": ("name", "label"), "policies": ("name",), "guests": ()}
"""List of a specification -> the texts that each of its entries has."""


def check_resolved(spec: Mapping[str, Any], place: str) -> None:
    """Do nothing if `spec` has what verbs read of it, in the right shape.

    Raises:
        DamagedError: it has not; `place` is the file that holds it.
    """
    problems = list(spec_problems(spec))
    if problems:
        raise DamagedError(
            f"{place}: no specification of a sweep: {'; '.join(problems)}\n"
            "  restore the file, or go on with `sweep run` and the sweep's YAML file"
        )


def spec_problems(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what verbs read of a specification and `spec` has not, or has in another shape."""
    yield from (f"{key} is no text" for key in _TEXTS if not isinstance(spec.get(key), str))
    for key, texts in _LISTS.items():
        entries = spec.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            yield f"{key} is no list of mappings"
        elif not all(isinstance(entry.get(text), str) for entry in entries for text in texts):
            yield f"{key}: an entry has no {' or no '.join(texts)}"
        elif not all(isinstance(entry.get("knobs", {}), dict) for entry in entries):
            yield f"{key}: an entry's knobs are no mapping"
        elif not all(_is_list_of_texts(entry.get("unsound", [])) for entry in entries):
            yield f"{key}: an entry's unsound is no list of texts"


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
