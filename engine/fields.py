"""What is declared once: a value that a user may set (`Field`), and a number that the engine counts (`Counter`).

Knobs of policies, fields of guests and parameters of workloads are fields: default, meaning, unit, range or choices,
and source. The reader of sweeps, the catalog, the columns of results and the pages of the reference follow from them.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_WORDS: Final = MappingProxyType({bool: "true or false", int: "a whole number", float: "a number", str: "a word"})
_JSON_TYPES: Final = MappingProxyType({bool: "boolean", int: "integer", float: "number", str: "string"})
_METADATA: Final = "field"


class FieldError(ValueError):
    """A name that is not declared, or a value that its field does not allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counter:
    """A number that the engine counts; a column of each table of results.

    The name in C (`COUNTER_…`), the column, the schema and its version, the check of prices and the pages of the
    reference follow from it. What is left is to count it: in the reference and in the lanes.
    """

    name: str
    unit: str
    description: str
    source: str
    since: int | None = None
    """Schema version of the result tables that brought it, if version 1 lacks it; null in rows of older runs."""
    unpriced: str = ""
    """Why it takes no time of its own. Without a reason each cost model says what it costs, or why it does not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One declaration. The type of its values is that of the default; a whole number is a number, too."""

    default: Any
    meaning: str
    unit: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    source: str = ""
    since: int | None = None
    """Schema version of the result tables that brought the field, if it is a column and version 1 lacks it."""

    @property
    def type(self) -> str:
        """Type of the values, as JSON Schema calls it."""
        return _JSON_TYPES[type(self.default)]

    @property
    def expected(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(show(choice) if choice == "" else str(choice) for choice in self.choices)
        words = _WORDS[type(self.default)]
        if self.minimum is not None and self.maximum is not None:
            return f"{words} from {self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"{words} of at least {self.minimum}"
        return words if self.maximum is None else f"{words} of at most {self.maximum}"

    def check(self, value: Any) -> Any:
        """Return `value` as the field holds it.

        Raises:
            FieldError: it is not allowed; the text says what was expected and what was found.
        """
        if type(self.default) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(self.default) or not self._in_range(value):
            raise FieldError(f"expected {self.expected}, found {show(value)}")
        return value

    def _in_range(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def described(self) -> dict[str, Any]:
        """Return the declaration as plain values; what is not said is left out."""
        said = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "choices": list(self.choices) or None,
            "source": self.source or None,
        }
        given = {key: value for key, value in said.items() if value is not None}
        return {"summary": self.meaning, "type": self.type, "unit": self.unit, "default": self.default} | given


def declared(default: Any, meaning: str, **more: Any) -> Any:
    """Declare one field of a dataclass; `more` are further fields of `Field`."""
    field = Field(default=default, meaning=meaning, **more)
    return dataclasses.field(default=default, metadata={_METADATA: field})


def fields_of(declaring: type) -> Mapping[str, Field]:
    """Return the declarations of a dataclass whose fields are all `declared`, by name, in order."""
    return MappingProxyType({one.name: one.metadata[_METADATA] for one in dataclasses.fields(declaring)})


def checked(given: Mapping[str, Any], fields: Mapping[str, Field], *, what: str) -> dict[str, Any]:
    """Return the given values as their fields hold them; the text of an error begins with `what`.

    Raises:
        FieldError: a name is not declared, or a value is not allowed.
    """
    found = {}
    for name, value in given.items():
        if name not in fields:
            raise FieldError(f"{what}: unknown name {name!r}. Allowed: {', '.join(sorted(fields))}")
        try:
            found[name] = fields[name].check(value)
        except FieldError as error:
            raise FieldError(f"{what}: {name}: {error}") from None
    return found


def show(value: Any) -> str:
    """Return a value as YAML spells it."""
    if value is None:
        return "nothing"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
