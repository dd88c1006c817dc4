"""Turns lists in an entry of a specification into the cases that they stand for: as a grid, or zipped."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.fields import Field
from sweep.spec.nodes import Entry, Spot, check_value
from sweep.spec.problems import Place, Problems, suggest

SECTIONS = ("guests", "policies", "workloads")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipGroup:
    """Axes of one section that advance together instead of forming a grid."""

    section: str
    keys: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One expansion of an entry: what was given, and which of it was swept."""

    values: Mapping[str, Any]
    swept: tuple[str, ...]

    def label(self, name: str) -> str:
        """Return `name`, followed by the swept values if there are any."""
        return " ".join([name, *(f"{key}={show_plain(self.values[key])}" for key in self.swept)])


def show_plain(value: Any) -> str:
    """Return a value for a label: YAML's spelling, no quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_zip(spot: Spot | None, problems: Problems) -> list[ZipGroup]:
    """Return the zip groups: a list of axes, or a list of such lists."""
    if spot is None:
        return []
    if spot.shape != "list" or not spot.elements:
        problems.note(spot.place, "zip: expected a list like [guests.vcpus, guests.memory_mib]")
        return []
    nested = [e for e in spot.elements if e.shape == "list"] or [spot]
    return [group for group in (_zip_group(element, problems) for element in nested) if group]


def _zip_group(spot: Spot, problems: Problems) -> ZipGroup | None:
    axes = []
    for element in spot.elements:
        section, _, key = str(element.value).partition(".")
        if section not in SECTIONS or not key:
            notes = suggest(f"{section}.{key}", [f"{name}.{key or 'KEY'}" for name in SECTIONS])
            problems.note(element.place, f"zip: '{element.value}' names no axis", *notes)
            return None
        axes.append((section, key))
    if len(axes) < 2 or len({section for section, _ in axes}) != 1:
        text = "zip: expected two or more axes of the same section"
        note = "axes of different sections form a grid; use `exclude` to drop what is not wanted"
        problems.note(spot.place, text, note)
        return None
    return ZipGroup(section=axes[0][0], keys=tuple(key for _, key in axes), place=spot.place)


def expand_entry(
    entries: Mapping[str, Entry],
    what: str,
    *,
    fields: Mapping[str, Field],
    zips: Sequence[ZipGroup],
    problems: Problems,
) -> list[Case]:
    """Return the cases of one entry whose values may be lists."""
    axes: dict[str, list[Any]] = {}
    swept: list[str] = []
    for key, entry in entries.items():
        if key not in fields:
            problems.note(entry.key, f"{what}: unknown key '{key}'", *suggest(key, sorted(fields)))
            continue
        axes[key] = _axis_values(entry.spot, f"{what}: {key}", field=fields[key], problems=problems)
        if entry.spot.shape == "list":
            swept.append(key)
    blocks = _blocks(axes, what, zips=zips, problems=problems)
    cases = []
    for combination in itertools.product(*blocks):
        values = {key: value for block in combination for key, value in block.items()}
        cases.append(Case(values={key: values[key] for key in axes if key in values}, swept=tuple(swept)))
    return cases


def _axis_values(spot: Spot, what: str, *, field: Field, problems: Problems) -> list[Any]:
    if spot.shape != "list":
        return [check_value(spot, what, field=field, problems=problems)]
    if not spot.elements:
        problems.note(spot.place, f"{what}: an empty list gives no cell")
    values = [check_value(element, what, field=field, problems=problems) for element in spot.elements]
    for index, element in enumerate(spot.elements):
        if element.value in [earlier.value for earlier in spot.elements[:index]]:
            problems.note(element.place, f"{what}: this value is given twice")
    return values


def _blocks(
    axes: Mapping[str, list[Any]],
    what: str,
    *,
    zips: Sequence[ZipGroup],
    problems: Problems,
) -> list[list[dict[str, Any]]]:
    grouped: set[str] = set()
    blocks: list[list[dict[str, Any]]] = []
    for group in zips:
        present = [key for key in group.keys if key in axes]
        if not present:
            continue
        lengths = {key: len(axes[key]) for key in present}
        if len(present) < len(group.keys) or len(set(lengths.values())) != 1:
            counts = ", ".join(f"{key} has {lengths.get(key, 0)}" for key in group.keys)
            problems.note(group.place, f"zip: lists of the same length are needed in {what}; {counts}")
            continue
        grouped.update(present)
        rows = zip(*(axes[key] for key in present), strict=True)
        blocks.append([dict(zip(present, row, strict=True)) for row in rows])
    blocks += [[{key: value} for value in values] for key, values in axes.items() if key not in grouped]
    return blocks
