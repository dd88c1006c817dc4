"""A cost model: cycles per counted event, each with its source. A mapping in, a checked dataclass out."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from engine.vocabulary import COUNTER_NAMES, COUNTERS
from results.spelling import did_you_mean
from results.store.columns import PAGINGS

STATUSES: Final = ("measured", "derived", "assumption")
BOUNDS: Final = ("low", "value", "high")
SHAPES: Final = ("triangular", "uniform")
"""How values are spread over a range: to both sides of the likely one, or evenly where none is more likely."""
_RANGE_KEYS: Final = ("low", "high", "likely")
_COST_KEYS: Final = ("cycles", "locked_cycles", "low", "high", "status", "source")
_QUANTITY_KEYS: Final = ("value", "low", "high", "status", "source")
_MODEL_KEYS: Final = ("name", "summary", "cpu_ghz", "native_time_scale", *PAGINGS, "unpriced")

Problem = tuple[tuple[str, ...], str]
"""Where in the mapping, and what is wrong there."""


class CostModelError(ValueError):
    """A cost model is not usable; `problems` holds all reasons, each with its place in the mapping."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{'.'.join(place) or 'cost model'}: {text}" for place, text in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its range, how far it can be trusted, and where it is from."""

    value: float
    low: float
    high: float
    status: str
    source: str
    shape: str = "triangular"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one count of `counter` takes: `cycles` in all, of which `locked_cycles` with mmu_lock held."""

    counter: str
    cycles: float
    locked_cycles: float
    low: float
    high: float
    status: str
    source: str
    shape: str = "triangular"

    @property
    def locked_share(self) -> float:
        """The part of the cycles with mmu_lock held; it stays when the cycles change."""
        return self.locked_cycles / self.cycles if self.cycles else 0.0

    def at(self, bound: str) -> "Cost":
        """Return this cost at the low or the high end of its range; the locked part scales with it."""
        cycles = {"low": self.low, "value": self.cycles, "high": self.high}[bound]
        return replace(self, cycles=cycles, locked_cycles=self.locked_share * cycles)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Prices for both kinds of paging, the clock that turns cycles into time, and what is left without a price."""

    name: str
    summary: str
    cpu_ghz: Quantity
    native_time_scale: Quantity
    shadow: tuple[Cost, ...]
    nested: tuple[Cost, ...]
    unpriced: dict[str, str] = field(default_factory=dict)

    def costs(self, paging: str) -> tuple[Cost, ...]:
        """Return the costs for one kind of paging."""
        return {"shadow": self.shadow, "nested": self.nested}[paging]

    def cycles(self, paging: str, counter: str) -> float:
        """Return what one count takes under one kind of paging; 0 for a counter without a price."""
        return next((cost.cycles for cost in self.costs(paging) if cost.counter == counter), 0.0)

    def counters(self) -> tuple[str, ...]:
        """Return the counters that have a price, each once, in the order of the model."""
        return tuple(dict.fromkeys(cost.counter for paging in PAGINGS for cost in self.costs(paging)))

    def only(self, counters: Container[str]) -> "CostModel":
        """Return the model with the prices of these counters alone."""
        shadow, nested = (tuple(c for c in self.costs(paging) if c.counter in counters) for paging in PAGINGS)
        return replace(self, shadow=shadow, nested=nested)

    def at(self, bound: str) -> "CostModel":
        """Return the model with every cost at one end of its range: `low`, `value` or `high`."""
        if bound not in BOUNDS:
            raise ValueError(f"bound '{bound}' is not one of {', '.join(BOUNDS)}")
        return replace(
            self,
            name=self.name if bound == "value" else f"{self.name} ({bound})",
            shadow=tuple(cost.at(bound) for cost in self.shadow),
            nested=tuple(cost.at(bound) for cost in self.nested),
        )


def cost_model_from_mapping(mapping: Mapping[str, Any]) -> CostModel:
    """Check `mapping`, as parsed from YAML, and return the cost model that it describes.

    Raises:
        CostModelError: with all problems at once.
    """
    mapping = {key: _in_full(key, entry) for key, entry in mapping.items()}
    problems: list[Problem] = list(_key_problems(mapping, (), _MODEL_KEYS, optional=("unpriced",)))
    texts = [key for key in ("name", "summary") if key in mapping and not isinstance(mapping[key], str)]
    problems += [((key,), f"expected text, found {mapping[key]!r}") for key in texts]
    for key in ("cpu_ghz", "native_time_scale"):
        if key in mapping:
            problems += _number_problems(mapping[key], (key,), keys=_QUANTITY_KEYS, value="value")
            problems += _zero_problems(mapping[key], (key,))
    for paging in PAGINGS:
        if paging in mapping:
            problems += _cost_problems(mapping[paging], paging)
    problems += _unpriced_problems(mapping)
    if problems:
        raise CostModelError(problems)
    return CostModel(
        name=mapping["name"],
        summary=mapping["summary"],
        cpu_ghz=Quantity(**mapping["cpu_ghz"]),
        native_time_scale=Quantity(**mapping["native_time_scale"]),
        shadow=tuple(Cost(counter=counter, **cost) for counter, cost in mapping["shadow"].items()),
        nested=tuple(Cost(counter=counter, **cost) for counter, cost in mapping["nested"].items()),
        unpriced=reasons_without_price(mapping),
    )


def reasons_without_price(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return counter -> why it has no price: as the model says, else as its declaration does."""
    priced, given = mapping.get("shadow", {}), mapping.get("unpriced", {})
    declared = {one.name: one.unpriced for one in COUNTERS if one.unpriced and one.name not in priced}
    return {**declared, **given}


def _in_full(key: str, entry: Any) -> Any:
    """Return a section of the mapping with all ranges as low, value and high."""
    if key in PAGINGS and isinstance(entry, Mapping):
        return {counter: _range_in_full(cost, "cycles") for counter, cost in entry.items()}
    return _range_in_full(entry, "value") if key in {"cpu_ghz", "native_time_scale"} else entry


def _range_in_full(entry: object, value: str) -> Any:
    """Return an entry whose number is a range with low, high and shape beside it; any other entry as it is."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get(value), Mapping):
        return entry
    bounds = entry[value]
    if list(_range_problems(entry, value)):
        return entry
    likely = bounds.get("likely", (bounds["low"] + bounds["high"]) / 2)
    shape = "triangular" if "likely" in bounds else "uniform"
    return {**entry, value: likely, "low": bounds["low"], "high": bounds["high"], "shape": shape}


def _range_problems(entry: Mapping[Any, Any], value: str) -> Iterator[Problem]:
    """Yield what is wrong with the range under the key `value`: the place in the entry, and the text."""
    bounds = entry[value]
    for key in bounds:
        if key not in _RANGE_KEYS:
            yield (value, str(key)), f"unknown key. Allowed: {', '.join(_RANGE_KEYS)}"
    missing = [key for key in ("low", "high") if key not in bounds]
    if missing:
        yield (value,), f"missing {', '.join(missing)}; a range is {{low: 1500, high: 2600, likely: 2000}}"
    known = {key: bounds[key] for key in _RANGE_KEYS if key in bounds}
    wrong = list(_no_numbers(known, (value,)))
    yield from wrong
    if not wrong and not missing:
        likely = known.get("likely", known["low"])
        if not 0 <= known["low"] <= likely <= known["high"]:
            shown = ", ".join(f"{key} {number}" for key, number in known.items())
            yield (value,), f"expected 0 <= low <= likely <= high, found {shown}"
    for key in ("low", "high"):
        if key in entry:
            yield (key,), f"is in the range under '{value}' already. Remove one of the two"


def _cost_problems(costs: object, paging: str) -> Iterator[Problem]:
    if not isinstance(costs, Mapping):
        yield (paging,), f"expected counters with their costs, found {costs!r}"
        return
    yield from _counter_problems(costs, paging)
    for counter, cost in costs.items():
        place = (paging, str(counter))
        found = list(_number_problems(cost, place, keys=_COST_KEYS, value="cycles"))
        yield from found
        if not found and not 0 <= cost["locked_cycles"] <= cost["cycles"]:
            yield (*place, "locked_cycles"), f"{cost['locked_cycles']} is outside 0 to cycles ({cost['cycles']})"


def _unpriced_problems(mapping: Mapping[str, Any]) -> Iterator[Problem]:
    unpriced = mapping.get("unpriced", {})
    if not isinstance(unpriced, Mapping):
        yield ("unpriced",), f"expected counters with reasons, found {unpriced!r}"
        return
    yield from _counter_problems(unpriced, "unpriced")
    for counter, reason in unpriced.items():
        if not isinstance(reason, str) or not reason.strip():
            yield ("unpriced", str(counter)), f"expected the reason as text, found {reason!r}"
        if isinstance(mapping.get("shadow"), Mapping) and counter in mapping["shadow"]:
            yield ("unpriced", str(counter)), "has a price under 'shadow'. Remove one of the two"


def _counter_problems(section: Mapping[Any, Any], name: str) -> Iterator[Problem]:
    for counter in section:
        if counter not in COUNTER_NAMES:
            yield (name, str(counter)), f"unknown counter{_meant(str(counter), COUNTER_NAMES)}"


def _number_problems(entry: object, place: tuple[str, ...], *, keys: tuple[str, ...], value: str) -> Iterator[Problem]:
    if not isinstance(entry, Mapping):
        yield place, f"expected {', '.join(keys)}, found {entry!r}"
        return
    if isinstance(entry.get(value), Mapping):
        # What is right has been brought into the long form before.
        yield from (((*place, *inner), text) for inner, text in _range_problems(entry, value))
        return
    yield from _key_problems(entry, place, (*keys, "shape"), optional=("shape",))
    if "shape" in entry and entry["shape"] not in SHAPES:
        yield (*place, "shape"), f"'{entry['shape']}' is not one of {', '.join(SHAPES)}"
    numbers = [key for key in keys if key not in {"status", "source"} and key in entry]
    wrong = list(_no_numbers({key: entry[key] for key in numbers}, place))
    yield from wrong
    if not wrong and {"low", value, "high"} <= set(numbers) and not 0 <= entry["low"] <= entry[value] <= entry["high"]:
        yield place, f"expected 0 <= low <= {value} <= high, found {entry['low']}, {entry[value]}, {entry['high']}"
    if "status" in entry and entry["status"] not in STATUSES:
        yield (*place, "status"), f"'{entry['status']}' is not one of {', '.join(STATUSES)}"
    if "source" in entry and not (isinstance(entry["source"], str) and entry["source"].strip()):
        yield (*place, "source"), f"expected where the number is from, found {entry['source']!r}"


def _no_numbers(entries: Mapping[str, object], place: tuple[str, ...]) -> Iterator[Problem]:
    for key, found in entries.items():
        if isinstance(found, bool) or not isinstance(found, int | float):
            yield (*place, key), f"expected a number, found {found!r}"


def _zero_problems(entry: Any, place: tuple[str, ...]) -> Iterator[Problem]:
    for key in ("value", "low") if isinstance(entry, Mapping) else ():
        if entry.get(key) == 0:
            yield (*place, key), "expected a number above 0, found 0"
            return


def _key_problems(
    entry: Mapping[Any, Any], place: tuple[str, ...], keys: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterator[Problem]:
    for key in entry:
        if key not in keys:
            yield (*place, str(key)), f"unknown key{_meant(str(key), keys)}"
    missing = [key for key in keys if key not in entry and key not in optional]
    if missing:
        yield place, f"missing {', '.join(missing)}"


def _meant(word: str, known: tuple[str, ...]) -> str:
    return "." + (did_you_mean(word, known) or f" Allowed: {', '.join(known)}")
