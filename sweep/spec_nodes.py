"""Reads YAML into nodes that remember where they stand, so that each error can show its line."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.spec_problems import Place, Problem, Source, SpecError

_ALIAS_LIMIT: Final = 100_000
"""Nodes that one document may expand to (assumption): far above any sweep, far below an alias bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One YAML node: its value, its place, and for mappings and sequences the nodes inside."""

    value: Any
    """The scalar; for a mapping or a sequence the plain Python value."""
    place: Place
    entries: dict[str, "Entry"] = field(default_factory=dict)
    elements: tuple["Spot", ...] = ()
    shape: str = "scalar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key of a mapping and its value."""

    key: Place
    spot: Spot


class _Reader:
    """Turns the nodes of one document into spots and notes what is wrong on the way."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._constructor = SafeConstructor(loader=YAML(typ="safe", pure=True))
        self._open: set[int] = set()
        self._count = 0

    def place(self, node: Node) -> Place:
        """Return where `node` stands; a block that spans lines is shown by its first line."""
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if end.line == start.line else 0
        return Place(source=self.source, line=start.line, column=start.column, width=max(1, width))

    def read(self, node: Node) -> Spot:
        """Return the spot of `node` and of everything in it."""
        place = self.place(node)
        self._count += 1
        if id(node) in self._open or self._count > _ALIAS_LIMIT:
            raise SpecError([Problem(place=place, message="this alias contains itself or grows without bound")])
        self._open.add(id(node))
        if isinstance(node, MappingNode):
            spot = self._mapping(node, place)
        elif isinstance(node, SequenceNode):
            elements = tuple(self.read(child) for child in node.value)
            spot = Spot(value=[e.value for e in elements], place=place, elements=elements, shape="list")
        else:
            spot = Spot(value=self._scalar(node, place), place=place)
        self._open.discard(id(node))
        return spot

    def _mapping(self, node: MappingNode, place: Place) -> Spot:
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            where = self.place(key_node)
            if key is None:
                self.problems.append(Problem(place=where, message="a key must be a word"))
                continue
            if key in entries:
                first = entries[key].key
                text = f"key '{key}' is given twice"
                note = f"the first one is in line {first.line + 1}; keep one of them"
                self.problems.append(Problem(place=where, message=text, notes=(note,)))
                continue
            entries[key] = Entry(key=where, spot=self.read(value_node))
        return Spot(value={k: e.spot.value for k, e in entries.items()}, place=place, entries=entries, shape="mapping")

    def _scalar(self, node: Node, place: Place) -> Any:
        try:
            return self._constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            found = getattr(error, "problem", None) or error
            self.problems.append(Problem(place=place, message=f"not a value: {found}"))
            return None


def read_nodes(source: Source) -> tuple[Spot, list[Problem]]:
    """Return the document of `source` with the problems of its form.

    Raises:
        SpecError: the text is no YAML, or holds nothing.
    """
    try:
        node = YAML(typ="rt", pure=True).compose(io.StringIO(source.text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        place = Place(source=source, line=line, column=column)
        raise SpecError([Problem(place=place, message=f"not YAML: {error.problem or error.context}")]) from error
    except YAMLError as error:
        place = Place(source=source, line=0, column=0)
        raise SpecError([Problem(place=place, message=f"not YAML: {str(error).splitlines()[0]}")]) from error
    if node is None:
        raise SpecError([Problem(place=Place(source=source, line=0, column=0), message="the document is empty")])
    reader = _Reader(source)
    return reader.read(node), reader.problems


def read_source(path: Path) -> Source:
    """Return the text of a file under the name by which the user called it.

    Raises:
        SpecError: the file can't be read as UTF-8 text.
    """
    try:
        return Source(name=str(path), text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        place = Place(source=Source(name=str(path), text=""), line=-1, column=0)
        raise SpecError([Problem(place=place, message=f"can't read the file: {reason}")]) from error
