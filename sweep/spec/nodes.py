"""Reads YAML into nodes that remember where they stand, so that each error can show its line."""

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.fields import Field, FieldError
from sweep.spec.problems import Place, Problem, Problems, Source, SpecError, near_words

BYTES_MAX: Final = 1 << 20
"""Text of one file (assumption): a sweep with every policy spelt out has a hundredth of that."""
DEPTH_MAX: Final = 100
"""Nesting of one document (assumption): a sweep needs five levels; the parser's time grows with the square of it."""
_PLAIN_TAGS: Final = MappingProxyType({"mapping": "tag:yaml.org,2002:map", "list": "tag:yaml.org,2002:seq"})
_ALIAS_LIMIT: Final = 100_000
"""Nodes that one document may expand to (assumption): far above any sweep, far below an alias bomb."""
_TOO_DEEP: Final = f"nested more than {DEPTH_MAX} levels deep; a sweep needs five"


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
        self.problems = Problems()
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
        self._check_tag(node, place)
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

    def _check_tag(self, node: Node, place: Place) -> None:
        shape = "mapping" if isinstance(node, MappingNode) else "list" if isinstance(node, SequenceNode) else ""
        tag = str(getattr(node.tag, "trval", node.tag) or "")
        if shape and tag not in {"", _PLAIN_TAGS[shape]}:
            self.problems.note(place, f"unknown tag '{tag}'", "tags such as !!python/object are not read; remove it")

    def _mapping(self, node: MappingNode, place: Place) -> Spot:
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            where = self.place(key_node)
            if key is None:
                self.problems.note(where, "a key must be a word")
                continue
            if key in entries:
                first = entries[key].key
                text = f"key '{key}' is given twice"
                self.problems.note(where, text, f"the first one is in line {first.line + 1}; keep one of them")
                continue
            entries[key] = Entry(key=where, spot=self.read(value_node))
        return Spot(value={k: e.spot.value for k, e in entries.items()}, place=place, entries=entries, shape="mapping")

    def _scalar(self, node: Node, place: Place) -> Any:
        try:
            return self._constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            found = getattr(error, "problem", None) or error
            self.problems.note(place, f"not a value: {found}")
            return None


def read_nodes(source: Source) -> tuple[Spot, Problems]:
    """Return the document of `source` with the problems of its form.

    Raises:
        SpecError: the text is no YAML, or holds nothing.
    """
    _check_size(source)
    try:
        node = YAML(typ="safe", pure=True).compose(io.StringIO(source.text))
    except RecursionError:
        raise _whole(source, _TOO_DEEP) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        place = Place(source=source, line=line, column=column)
        raise SpecError([Problem(place=place, message=f"not YAML: {error.problem or error.context}")]) from error
    except YAMLError as error:
        raise _whole(source, f"not YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise _whole(source, "the document is empty")
    reader = _Reader(source)
    try:
        return reader.read(node), reader.problems
    except RecursionError:
        raise _whole(source, _TOO_DEEP) from None


def _check_size(source: Source) -> None:
    """Refuse what would keep the parser busy for minutes, before it starts."""
    if len(source.text) > BYTES_MAX:
        raise _whole(source, f"more than {BYTES_MAX} characters; a sweep is a few hundred lines")
    depth = 0
    for sign in re.findall(r"[\[\]{}]", source.text):
        depth = depth + 1 if sign in "[{" else max(0, depth - 1)
        if depth > DEPTH_MAX:
            raise _whole(source, _TOO_DEEP)


def _whole(source: Source, message: str) -> SpecError:
    return SpecError([Problem(place=Place(source=source, line=0, column=0), message=message)])


def read_source(path: Path) -> Source:
    """Return the text of a file under the name by which the user called it.

    Raises:
        SpecError: the file can't be read as UTF-8 text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(BYTES_MAX + 1)
        # A cut in the middle of a letter is no other error than the size.
        text = content.decode() if len(content) <= BYTES_MAX else content.decode(errors="replace")
        return Source(name=str(path), text=text.replace("\r\n", "\n").replace("\r", "\n"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        place = Place(source=Source(name=str(path), text=""), line=-1, column=0)
        raise SpecError([Problem(place=place, message=f"can't read the file: {reason}")]) from error


def check_value(spot: Spot, what: str, *, field: Field, problems: Problems) -> Any:
    """Return the value of `spot`, or note why it is not allowed and return the default."""
    if spot.shape != "scalar":
        problems.note(spot.place, f"{what}: expected {field.expected}, found a {spot.shape}")
        return field.default
    try:
        return field.check(spot.value)
    except FieldError as error:
        notes = near_words(str(spot.value), [str(choice) for choice in field.choices])
        problems.note(spot.place, f"{what}: {error}", *notes)
        return field.default
