"""One specification that describes the cells of two runs, or an error that says what only the user can decide."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from results.store.storage import StoreError

Spec = Mapping[str, Any]

_LARGEST: Final = ("replicates",)
"""What the union has the larger value of."""
_JOINED: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "policies": (("name",), ("knobs",)),
    "workloads": (("label",), ("name", "parameters", "unsound")),
    "guests": ((), ()),
}
"""List that the union has the entries of both of -> what an entry goes by, and what one of that name must agree in.

An entry that goes by nothing is another one as soon as anything differs.
"""
_SHOWN: Final = 60
"""Characters of a value that a message shows."""


def union_of_specs(specs: Mapping[str, Spec], out: str, prefer: str | None = None) -> dict[str, Any]:
    """Return what describes the cells of all runs: run -> specification is what it is made of.

    Lists are joined and the larger number of replicates counts. The name is that of all, or the last piece of `out`.
    Any other setting that differs, such as baseline, costs or seed, is that of the run `prefer`. The order of the runs
    does not matter.

    Raises:
        StoreError: settings differ and `prefer` is none of the runs, or a name means two things.
    """
    if prefer is not None and prefer not in specs:
        raise StoreError(f"--prefer {prefer}: neither of the two runs. Allowed: {', '.join(specs)}")
    joined: dict[str, Any] = {}
    differing: dict[str, dict[str, Any]] = {}
    for key in sorted({key for spec in specs.values() for key in spec}):
        values = {run: spec[key] for run, spec in specs.items() if key in spec}
        different = {_text(value): value for value in values.values()}
        if len(different) == 1:
            (joined[key],) = different.values()
        elif key in _LARGEST:
            joined[key] = max(values.values())
        elif key in _JOINED:
            joined[key] = _joined(key, values)
        elif key == "name":
            joined[key] = PurePosixPath(out).name
        elif prefer in values:
            joined[key] = values[prefer]
        else:
            differing[key] = values
    if differing:
        raise StoreError(_refusal(list(specs), differing))
    return joined


def _refusal(runs: Sequence[str], differing: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"  {key}: {', '.join(f'{_shown(value)} in {run}' for run, value in values.items())}"
        for key, values in differing.items()
    ]
    choices = " or ".join(f"--prefer {run}" for run in runs)
    return "\n".join([f"{' and '.join(runs)} differ in {', '.join(differing)}. Say which counts: {choices}", *lines])


def _joined(key: str, values: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Return the entries of all lists, each once, in an order that does not tell whose list came first."""
    goes_by, _ = _JOINED[key]
    entries = {_text(entry): entry for entry in sorted((e for v in values.values() for e in v), key=_text)}
    if not goes_by:
        return list(entries.values())
    by_name: dict[str, Any] = {}
    for entry in entries.values():
        other = by_name.setdefault(_text([entry[part] for part in goes_by]), entry)
        problems = list(_disagreements(key, entry, other))
        if problems:
            name = ", ".join(str(entry[part]) for part in goes_by)
            raise StoreError(
                f"{key}: '{name}' is not the same in {' and '.join(values)}: {'; '.join(problems)}. Give it another "
                "name in one sweep's YAML and start that again, which simulates nothing; or compare the two with "
                "`sweep compare`"
            )
    return list(by_name.values())


def _disagreements(key: str, entry: Spec, other: Spec) -> Iterator[str]:
    _, must_agree = _JOINED[key]
    for part in must_agree:
        here, there = entry.get(part), other.get(part)
        if isinstance(here, dict) and isinstance(there, dict):
            for inner in sorted(here.keys() | there.keys()):
                if here.get(inner) != there.get(inner):
                    yield f"{inner} {_shown(there.get(inner))} and {_shown(here.get(inner))}"
        elif here != there:
            yield f"{part} {_shown(there)} and {_shown(here)}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
