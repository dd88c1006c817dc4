"""Puts the nodes of a cost model together: a file, the model that it builds on, and single numbers laid over both.

A model with `base: NAME` holds what differs from that model: whole entries of the sections cpi, hardware, shadow,
nested and unpriced, and other keys as they are. A single number is named by its path, as in `cpu_ghz`, `cpi.cold`,
`sync_sptes.cycles`, `nested.exits.low`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from engine.vocabulary import COUNTER_NAMES
from sweep.spec.nodes import Entry, Spot
from sweep.spec.problems import Place, Problems, Source, suggest

BASE: Final = "base"
SECTIONS: Final = ("cpi", "hardware", "shadow", "nested", "unpriced")
"""Keys of a model that hold entries by name."""
_QUANTITIES: Final = ("cpu_ghz", "native_time_scale")
_FACTORS: Final = ("cpi", "hardware")
_ENDS: Final = ("low", "high")
_OF_QUANTITY: Final = ("value", *_ENDS)
_OF_PRICE: Final = ("cycles", "locked_cycles", "instructions", "locked_instructions", *_ENDS)
_MAIN: Final = ("value", "cycles", "instructions")
"""Numbers whose range is gone when they are given anew."""
_OF_PATH: Final = ("instructions", "locked_instructions", "cpi", "hardware")
GIVEN: Final = "given with the name of the model"
MARK: Final = ","
"""Stands between the name of a model and each number that is laid over it."""
_BEFORE_CHANGE: Final = re.compile(rf"{MARK}(?=[a-z][\w.]*=)")
"""A path of a file may hold the mark as well: only what looks like a number begins one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One number that is laid over a model: its path in words, its value, and where both stand."""

    words: tuple[str, ...]
    spot: Spot

    def text(self) -> str:
        """Return the change as the name of a model has it."""
        return f"{'.'.join(self.words)}={self.spot.value}"


def split_name(text: str) -> tuple[str, list[str]]:
    """Return the name or path of a model, and the texts of the numbers behind it."""
    name, *changes = _BEFORE_CHANGE.split(text)
    return name, changes


def joined_name(name: str, changes: Sequence[Change]) -> str:
    """Return the name of a model with numbers laid over it."""
    return MARK.join([name, *(change.text() for change in changes)])


def mapping_spot(entries: Mapping[str, Entry], place: Place) -> Spot:
    """Return a mapping of these entries."""
    value = {key: entry.spot.value for key, entry in entries.items()}
    return Spot(value=value, place=place, entries=dict(entries), shape="mapping")


def put_on_base(root: Spot, base: Spot) -> Spot:
    """Return the model of `root`, with whatever it does not say as `base` has it."""
    entries = dict(base.entries)
    # What a model was calibrated with, and for which year, holds for that model alone.
    for key in ("year", "calibration"):
        entries.pop(key, None)
    for key, entry in root.entries.items():
        if key == BASE:
            continue
        under = entries.get(key)
        if key in SECTIONS and under is not None and entry.spot.shape == under.spot.shape == "mapping":
            both = {**under.spot.entries, **entry.spot.entries}
            entries[key] = Entry(key=entry.key, spot=mapping_spot(both, entry.spot.place))
        else:
            entries[key] = entry
    return mapping_spot(_without_twice(entries, root), root.place)


def _without_twice(entries: dict[str, Entry], root: Spot) -> dict[str, Entry]:
    """Drop what the base says of a counter that `root` decides about in another section."""
    priced, unpriced = (_names(root, section) for section in ("shadow", "unpriced"))
    for section, gone in (("shadow", unpriced - priced), ("unpriced", priced - unpriced)):
        entry = entries.get(section)
        if entry is not None and entry.spot.shape == "mapping" and gone & set(entry.spot.entries):
            kept = {name: one for name, one in entry.spot.entries.items() if name not in gone}
            entries[section] = Entry(key=entry.key, spot=mapping_spot(kept, entry.spot.place))
    return entries


def _names(root: Spot, section: str) -> set[str]:
    entry = root.entries.get(section)
    return set(entry.spot.entries) if entry is not None else set()


def changes_of_mapping(spot: Spot, words: tuple[str, ...] = ()) -> Iterator[Change]:
    """Yield the numbers of a mapping such as `{base: nehalem-2011, cpu_ghz: 3.2, sync_sptes: {cycles: 90}}`."""
    for key, entry in spot.entries.items():
        if key == BASE and not words:
            continue
        if entry.spot.shape == "mapping":
            yield from changes_of_mapping(entry.spot, (*words, key))
        else:
            # A path that is wrong is shown where it stands, a number where the number stands.
            yield Change(words=(*words, key), spot=replace(entry.spot, place=entry.key))


def changes_of_text(texts: Sequence[str], problems: Problems) -> list[Change]:
    """Return the numbers of texts such as `cpu_ghz=3.2`, as they stand behind the name of a model."""
    found = []
    for text in texts:
        place = Place(source=Source(name="--costs", text=text, is_argument=True), line=0, column=0, width=len(text))
        path, equals, number = text.partition("=")
        value = _number(number)
        if not equals or value is None:
            problems.note(place, f"'{text}' is no price", "write PATH=NUMBER, as in nehalem-2011,cpu_ghz=3.2")
            continue
        found.append(Change(words=tuple(path.strip().split(".")), spot=Spot(value=value, place=place)))
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not isfinite(value):
        return None
    return int(value) if value.is_integer() and "." not in text and "e" not in text.lower() else value


def lay_over(root: Spot, changes: Sequence[Change], problems: Problems) -> Spot:
    """Return a model with numbers laid over it; one that is no number of a model is noted."""
    # Ends of a range come last: the number that they bound would take them away.
    for change in sorted(changes, key=lambda one: one.words[-1] in _ENDS):
        path = _path_in_model(change, problems)
        if path is None:
            continue
        if isinstance(change.spot.value, bool) or not isinstance(change.spot.value, int | float):
            problems.note(
                change.spot.place, f"{'.'.join(change.words)}: expected a number, found {change.spot.value!r}"
            )
            continue
        root = _changed(root, path, change)
    name = root.entries.get("name")
    if not changes or name is None:
        return root
    # Whatever shows the name of the model shows what was laid over it.
    text = joined_name(str(name.spot.value), changes)
    return _put(root, ("name",), replace(name.spot, value=text), name.key)


def _path_in_model(change: Change, problems: Problems) -> tuple[str, ...] | None:
    """Return the keys of a model's mapping that a change means, the last of them that of a number; None if none."""
    words = change.words
    first = words[0]
    path: tuple[str, ...]
    keys: tuple[str, ...]
    if first in _QUANTITIES and len(words) <= 2:
        path, keys = (first, words[1] if len(words) == 2 else "value"), _OF_QUANTITY
    elif first in _FACTORS and 2 <= len(words) <= 3:
        path, keys = (*words[:2], words[2] if len(words) == 3 else "value"), _OF_QUANTITY
    elif first in COUNTER_NAMES and len(words) == 2:
        path, keys = ("shadow", *words), _OF_PRICE
    elif first == "nested" and len(words) == 3 and words[1] in COUNTER_NAMES:
        path, keys = words, _OF_PRICE
    else:
        wrong = words[1] if first == "nested" and len(words) > 1 else first
        known = COUNTER_NAMES if first == "nested" else (*_QUANTITIES, *_FACTORS, "nested", *COUNTER_NAMES)
        text = f"{'.'.join(words)}: no number of a cost model"
        shapes = "numbers go by cpu_ghz, cpi.NAME, hardware.NAME, COUNTER.cycles, nested.COUNTER.cycles"
        problems.note(change.spot.place, text, *suggest(wrong, known)[:-1], shapes)
        return None
    if path[-1] not in keys:
        problems.note(change.spot.place, f"{'.'.join(words)}: unknown key '{path[-1]}'", *suggest(path[-1], keys))
        return None
    return path


def _changed(root: Spot, path: tuple[str, ...], change: Change) -> Spot:
    """Return the model with one number in place, in an entry that says that it was given."""
    place = change.spot.place
    entry = root
    for key in path[:-1]:
        under = entry.entries.get(key)
        entry = under.spot if under is not None else mapping_spot({}, place)
    changed = _entry(entry, path[-1], change.spot.value, place)
    if path[0] == "shadow":
        root = _priced(root, path[1])
    return _put(root, path[:-1], changed, place)


def _entry(entry: Spot, key: str, value: Any, place: Place) -> Spot:
    """Return a price or a quantity with the number `key`, in the long form that gives each end of a range."""
    known: dict[str, Any] = dict(entry.value) if isinstance(entry.value, Mapping) else {}
    if key in _MAIN:
        if key == "cycles":
            share = _locked_share(known)
            known = {name: one for name, one in known.items() if name not in _OF_PATH}
            known["locked_cycles"] = share * value
        elif key == "instructions":
            known["locked_instructions"] = _locked_share(known) * value
        known |= {"low": value, "high": value, "status": "assumption", "source": GIVEN}
    known[key] = value
    kept = {name: one for name, one in entry.entries.items() if name in known}
    made = {name: Entry(key=place, spot=Spot(value=one, place=place)) for name, one in known.items()}
    return mapping_spot({**made, **{n: kept[n] for n in kept if kept[n].spot.value == known[n]}}, entry.place)


def _locked_share(known: Mapping[str, Any]) -> float:
    for number in ("cycles", "instructions"):
        whole, locked = known.get(number), known.get(f"locked_{number}")
        if isinstance(whole, int | float) and isinstance(locked, int | float) and whole:
            return float(locked / whole)
    return 0.0


def _priced(root: Spot, counter: str) -> Spot:
    """Return the model without the reason why a counter has no price."""
    unpriced = root.entries.get("unpriced")
    if unpriced is None or counter not in unpriced.spot.entries:
        return root
    kept = {name: one for name, one in unpriced.spot.entries.items() if name != counter}
    return _put(root, ("unpriced",), mapping_spot(kept, unpriced.spot.place), unpriced.key)


def _put(root: Spot, path: tuple[str, ...], spot: Spot, place: Place) -> Spot:
    if not path:
        return spot
    under = root.entries.get(path[0])
    inner = _put(under.spot if under is not None else mapping_spot({}, place), path[1:], spot, place)
    key = under.key if under is not None and len(path) > 1 else place
    return mapping_spot({**root.entries, path[0]: Entry(key=key, spot=inner)}, root.place)
