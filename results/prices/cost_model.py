"""A cost model: cycles per counted event, each with its source. A mapping in, a checked dataclass out.

A price is given in cycles, or as a path: instructions, times the CPI of its kind of code, plus a part that the hardware
takes (results/prices/paths.py). docs/explanation/costs.md says why so.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from engine.vocabulary import COUNTER_NAMES, COUNTERS
from results.prices.paths import Path, Quantity, Spread
from results.spelling import did_you_mean
from results.store.columns import PAGINGS

STATUSES: Final = ("measured", "derived", "assumption")
BOUNDS: Final = ("low", "value", "high")
SHAPES: Final = ("triangular", "uniform")
"""How values are spread over a range: to both sides of the likely one, or evenly where none is more likely."""
_RANGE_KEYS: Final = ("low", "high", "likely")
_COST_KEYS: Final = ("cycles", "locked_cycles", "low", "high", "status", "source")
_PATH_KEYS: Final = (
    "instructions", "locked_instructions", "undecoded_instructions", "first_pass_instructions", "low", "high", "cpi",
    "hardware", "status", "source",
)  # fmt: skip
UNDECODED: Final = "undecoded_instructions"
"""Part of a path's instructions: those of fetch and decode, which a CPU with decode assists saves."""
LOOP_START: Final = "first_pass_instructions"
"""Instructions of a loop that is priced by itself, which run cold the first time."""
_QUANTITY_KEYS: Final = ("value", "low", "high", "status", "source")
FACTORS: Final = ("cpi", "hardware")
"""Sections of a model whose numbers many prices share."""
_GIVEN_ONLY: Final = ("year", "calibration", "decode_assists", *FACTORS)
MODEL_KEYS: Final = (
    "name", "summary", "year", "calibration", "decode_assists", "cpu_ghz", "native_time_scale", *FACTORS, *PAGINGS,
    "unpriced",
)  # fmt: skip

Problem = tuple[tuple[str, ...], str]
"""Where in the mapping, and what is wrong there."""


class CostModelError(ValueError):
    """A cost model is not usable; `problems` holds all reasons, each with its place in the mapping."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{'.'.join(place) or 'cost model'}: {text}" for place, text in problems))


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
    path: Path | None = None
    """What the cycles are made of, if the model gives them as a path."""

    @property
    def locked_share(self) -> float:
        """The part of the cycles with mmu_lock held; it stays when the cycles change."""
        return self.locked_cycles / self.cycles if self.cycles else 0.0

    def at(self, bound: str) -> "Cost":
        """Return this cost at the low or the high end of its range; the locked part scales with it."""
        cycles = {"low": self.low, "value": self.cycles, "high": self.high}[bound]
        path = self.path and self.path.at(bound)
        return replace(self, cycles=cycles, locked_cycles=self.locked_share * cycles, path=path)


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
    factors: dict[str, Quantity] = field(default_factory=dict)
    """`cpi.NAME` and `hardware.NAME` -> a number that many prices share."""
    year: int | None = None
    """The year of the machine, where the model says it."""
    calibration: str = ""
    """What numbers of the model were fitted to; nothing else was."""

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
            factors={name: one.at(bound) for name, one in self.factors.items()},
        )


def cost_model_from_mapping(mapping: Mapping[str, Any]) -> CostModel:
    """Check `mapping`, as parsed from YAML, and return the cost model that it describes.

    Raises:
        CostModelError: with all problems at once.
    """
    mapping = {key: _in_full(key, entry) for key, entry in mapping.items()}
    problems = list(_problems(mapping))
    if problems:
        raise CostModelError(problems)
    factors = {
        f"{section}.{name}": Quantity(**entry)
        for section in FACTORS
        for name, entry in mapping.get(section, {}).items()
    }
    assisted = mapping.get("decode_assists", False)
    shadow, nested = (
        tuple(_cost(counter, entry, factors, assisted=assisted) for counter, entry in mapping[paging].items())
        for paging in PAGINGS
    )
    return CostModel(
        name=mapping["name"],
        summary=mapping["summary"],
        cpu_ghz=Quantity(**mapping["cpu_ghz"]),
        native_time_scale=Quantity(**mapping["native_time_scale"]),
        shadow=shadow,
        nested=nested,
        unpriced=reasons_without_price(mapping),
        factors=factors,
        year=mapping.get("year"),
        calibration=mapping.get("calibration", ""),
    )


def _cost(counter: str, entry: Mapping[str, Any], factors: Mapping[str, Quantity], *, assisted: bool) -> Cost:
    """Return the price of a counter; one that is given as a path has its cycles worked out."""
    if "cycles" in entry:
        return Cost(counter=counter, **entry)
    saved = entry.get(UNDECODED, 0) if assisted else 0
    low, value, high = (max(entry[end] - saved, 0) for end in ("low", "instructions", "high"))
    spread = Spread(low=low, value=value, high=high)
    hardware = f"hardware.{entry['hardware']}" if "hardware" in entry else None
    path = Path(instructions=spread, cpi=f"cpi.{entry['cpi']}", hardware=hardware, first_pass=entry.get(LOOP_START, 0))
    used = [factors[name] for name in (path.cpi, path.hardware) if name]
    # A path without any factor of its own is the measurement; what a machine makes of it follows from measurements.
    is_plain = all(one.low == one.high and one.value in {0, 1} for one in used)
    status = "derived" if entry["status"] == "measured" and not is_plain else entry["status"]
    return Cost(
        counter=counter,
        cycles=path.cycles(factors, "value"),
        locked_cycles=min(entry["locked_instructions"], value) * factors[path.cpi].value,
        low=path.cycles(factors, "low"),
        high=path.cycles(factors, "high"),
        status=status,
        source=f"{path.formula()}: {entry['source']}",
        shape=entry.get("shape", "triangular"),
        path=path,
    )


def _problems(mapping: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield all that is wrong with a model whose ranges are written in full."""
    yield from _key_problems(mapping, (), MODEL_KEYS, optional=("unpriced", *_GIVEN_ONLY))
    for key in ("name", "summary", "calibration"):
        if key in mapping and not isinstance(mapping[key], str):
            yield (key,), f"expected text, found {mapping[key]!r}"
    if "year" in mapping and (isinstance(mapping["year"], bool) or not isinstance(mapping["year"], int)):
        yield ("year",), f"expected a year such as 2011, found {mapping['year']!r}"
    if not isinstance(mapping.get("decode_assists", False), bool):
        yield ("decode_assists",), f"expected true or false, found {mapping['decode_assists']!r}"
    for key in ("cpu_ghz", "native_time_scale"):
        if key in mapping:
            yield from _number_problems(mapping[key], (key,), keys=_QUANTITY_KEYS, value="value")
            yield from _zero_problems(mapping[key], (key,))
    for section in FACTORS:
        factors = mapping.get(section, {})
        if not isinstance(factors, Mapping):
            yield (section,), f"expected names with their numbers, found {factors!r}"
            continue
        for name, entry in factors.items():
            yield from _number_problems(entry, (section, str(name)), keys=_QUANTITY_KEYS, value="value")
    for paging in PAGINGS:
        if paging in mapping:
            yield from _cost_problems(mapping[paging], paging, mapping)
    yield from _unpriced_problems(mapping)


def reasons_without_price(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return counter -> why it has no price: as the model says, else as its declaration does."""
    priced, given = mapping.get("shadow", {}), mapping.get("unpriced", {})
    declared = {one.name: one.unpriced for one in COUNTERS if one.unpriced and one.name not in priced}
    return {**declared, **given}


def _in_full(key: str, entry: Any) -> Any:
    """Return a section of the mapping with all ranges as low, value and high."""
    if key in PAGINGS and isinstance(entry, Mapping):
        return {counter: _range_in_full(cost, _main_number(cost)) for counter, cost in entry.items()}
    if key in FACTORS and isinstance(entry, Mapping):
        return {name: _range_in_full(factor, "value") for name, factor in entry.items()}
    return _range_in_full(entry, "value") if key in {"cpu_ghz", "native_time_scale"} else entry


def _main_number(cost: object) -> str:
    """Return the key of a price's main number: a price in cycles, or a path in instructions."""
    return "instructions" if isinstance(cost, Mapping) and "instructions" in cost else "cycles"


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


def _cost_problems(costs: object, paging: str, mapping: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(costs, Mapping):
        yield (paging,), f"expected counters with their costs, found {costs!r}"
        return
    yield from _counter_problems(costs, paging)
    for counter, cost in costs.items():
        place = (paging, str(counter))
        number = _main_number(cost)
        keys = _COST_KEYS if number == "cycles" else _PATH_KEYS
        found = list(_number_problems(cost, place, keys=keys, value=number))
        if number == "instructions" and isinstance(cost, Mapping):
            found += _factor_problems(cost, place, mapping)
        yield from found
        locked = f"locked_{number}"
        if not found and not 0 <= cost[locked] <= cost[number]:
            yield (*place, locked), f"{cost[locked]} is outside 0 to {number} ({cost[number]})"


def _factor_problems(cost: Mapping[str, Any], place: tuple[str, ...], mapping: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield which factors of a path the model does not have."""
    for section in FACTORS:
        known = mapping.get(section)
        if section in cost and not (isinstance(known, Mapping) and cost[section] in known):
            names = ", ".join(map(str, known)) if isinstance(known, Mapping) and known else "none"
            yield (*place, section), f"'{cost[section]}' is no entry of the section '{section}'. There: {names}"
    if LOOP_START in cost and not {"cold", "loop"} <= set(mapping.get("cpi", {})):
        yield (*place, LOOP_START), "needs the entries cold and loop of the section 'cpi'"


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
    yield from _key_problems(entry, place, (*keys, "shape"), optional=("shape", "hardware", UNDECODED, LOOP_START))
    if "shape" in entry and entry["shape"] not in SHAPES:
        yield (*place, "shape"), f"'{entry['shape']}' is not one of {', '.join(SHAPES)}"
    numbers = [key for key in keys if key not in {"status", "source", *FACTORS} and key in entry]
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
