"""Lays `-s path=value` arguments over the nodes of a specification; errors point into the argument itself."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from sweep.spec.nodes import Entry, Spot, read_nodes
from sweep.spec.problems import Place, Problem, Problems, Source, SpecError, suggest

_ALTERNATIVES: Final = (("until", "replicates"), ("replicates", "until"))
_NAME_KEYS: Final = MappingProxyType({"workloads": "name", "policies": "base", "guests": "base", "costs": "base"})


def apply_overrides(root: Spot, overrides: Sequence[str], *, problems: Problems) -> Spot:
    """Return `root` with each override laid over it, in order.

    One of `until` takes the place of the file's `replicates`, and one of `replicates` that of its `until`.
    """
    given = {text.partition("=")[0].split(".")[0] for text in overrides}
    for one, other in _ALTERNATIVES:
        if one in given and other not in given and other in root.entries:
            entries = {key: entry for key, entry in root.entries.items() if key != other}
            root = replace(root, entries=entries, value={key: entry.spot.value for key, entry in entries.items()})
    for text in overrides:
        source = Source(name=f"-s {text}", text=text, is_argument=True)
        whole = Place(source=source, line=0, column=0, width=len(text))
        path, equals, value = text.partition("=")
        if not equals or not path or not value.strip():
            problems.note(whole, f"'{text}' is no override", "write path=value, as in -s guests.vcpus=[1,2,4]")
            continue
        try:
            # The value is read in its own column of the whole argument, so that marks point into what was typed.
            padded = " " * (len(path) + 1) + value
            spot, found = read_nodes(Source(name=source.name, text=padded))
        except SpecError as error:
            problems += [replace(p, place=replace(p.place, source=source)) for p in error.problems]
            continue
        problems += [replace(p, place=replace(p.place, source=source)) for p in found]
        try:
            words = path.split(".")
            if len(words) > 1:
                root = _spelled_out(root, words[0])
            root = _put(root, words, column=0, value=_resource(spot, source))
        except SpecError as error:
            problems += error.problems
    return root


def _resource(spot: Spot, source: Source) -> Spot:
    place = replace(spot.place, source=source)
    entries = {
        key: Entry(key=replace(entry.key, source=source), spot=_resource(entry.spot, source))
        for key, entry in spot.entries.items()
    }
    return replace(spot, place=place, entries=entries, elements=tuple(_resource(e, source) for e in spot.elements))


def _put(spot: Spot, words: list[str], *, column: int, value: Spot) -> Spot:
    if not words:
        return value
    word, rest = words[0], words[1:]
    here = Place(source=value.place.source, line=0, column=column, width=max(1, len(word)))
    after = column + len(word) + 1
    if spot.shape == "list":
        return _put_element(spot, words, column=column, value=value)
    if spot.shape != "mapping":
        if spot.value is not None:
            raise SpecError([Problem(place=here, message=f"'{word}': there are no keys below {spot.value!r}")])
        spot = replace(spot, entries={}, shape="mapping", value={})
    old = spot.entries.get(word)
    empty = Spot(value=None, place=here)
    inner = _put(old.spot if old else empty, rest, column=after, value=value)
    entries = {**spot.entries, word: Entry(key=old.key if old and rest else here, spot=inner)}
    return replace(spot, entries=entries, value={key: entry.spot.value for key, entry in entries.items()})


def _spelled_out(root: Spot, section: str) -> Spot:
    """Turn bare names, such as `- kvm-3.0` in a list, into the mappings that they are short for."""
    entry = root.entries.get(section)
    if entry is None or section not in _NAME_KEYS:
        return root
    key = _NAME_KEYS[section]
    elements = tuple(_named(element, key) for element in entry.spot.elements)
    spot = _named(replace(entry.spot, elements=elements), key)
    return replace(root, entries={**root.entries, section: replace(entry, spot=spot)})


def _named(spot: Spot, key: str) -> Spot:
    if not isinstance(spot.value, str):
        return spot
    entry = Entry(key=spot.place, spot=spot)
    return replace(spot, entries={key: entry}, value={key: spot.value}, shape="mapping")


def _put_element(spot: Spot, words: list[str], *, column: int, value: Spot) -> Spot:
    names = [_name_of(element) for element in spot.elements]
    # Names may hold dots, as `kvm-3.3` does: the longest stretch of the path that is a name counts.
    length = next((n for n in range(len(words), 0, -1) if ".".join(words[:n]) in names), 1)
    word, rest = ".".join(words[:length]), words[length:]
    index = names.index(word) if word in names else None
    if index is None and word.isdecimal() and int(word) < len(names):
        index = int(word)
    if index is None:
        here = Place(source=value.place.source, line=0, column=column, width=max(1, len(word)))
        known = [name for name in names if name] + [f"0 to {len(names) - 1}"]
        raise SpecError([Problem(place=here, message=f"no entry '{word}'", notes=suggest(word, known))])
    changed = _put(spot.elements[index], rest, column=column + len(word) + 1, value=value)
    elements = (*spot.elements[:index], changed, *spot.elements[index + 1 :])
    return replace(spot, elements=elements, value=[element.value for element in elements])


def _name_of(spot: Spot) -> Any:
    for key in ("label", "name", "base"):
        if key in spot.entries:
            return spot.entries[key].spot.value
    return spot.value if isinstance(spot.value, str) else None
