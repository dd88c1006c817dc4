"""Reads `until`: replicates in rounds, until the differences to the baseline are known as well as was asked for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.fields import Field, show
from engine.vocabulary import COUNTER_NAMES
from sweep.spec.nodes import Entry, Spot
from sweep.spec.problems import Problem, suggest
from sweep.spec.spec import Until
from sweep.spec.values import check_value

ELAPSED: Final = "elapsed"
REPLICATES_MAX: Final = 10_000
_KEYS: Final = ("half_width", "max", "min", "metric", "baseline", "policies", "confidence")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?) *%")
_FIRST: Final = 3
"""Replicates of the first round (assumption): the fewest from which a spread can be told apart from none."""
_CONFIDENCE: Final = 95.0


class UntilReader:
    """Reads the keys of `until` and notes what is wrong with them; without `policies`, no name of one is checked."""

    def __init__(self, spot: Spot, *, policies: Sequence[str], baseline: str, problems: list[Problem]) -> None:
        self._spot = spot
        self._policies = list(policies)
        self._baseline = baseline
        self._problems = problems

    def read(self) -> Until | None:
        """Return the rule, or None where `until` is no mapping."""
        if self._spot.shape != "mapping":
            text = f"until: expected a mapping, found {show(self._spot.value)}"
            note = "as in `until: {half_width: 0.5 %, max: 30}`"
            self._problems.append(Problem(place=self._spot.place, message=text, notes=(note,)))
            return None
        self._check_keys()
        first = self._count("min", default=_FIRST)
        last = self._count("max", default=first)
        if last < first:
            entry = self._spot.entries.get("max") or self._spot.entries["min"]
            text = f"until: max is {last}, which is less than min ({first})"
            self._problems.append(Problem(place=entry.spot.place, message=text))
        return Until(
            half_width=self._percent("half_width", default=1.0, low=0.0, high=100.0),
            minimum=first,
            maximum=max(first, last),
            metric=self._choice("metric", [ELAPSED, *COUNTER_NAMES], default=ELAPSED),
            baseline=self._choice("baseline", self._policies, default=self._baseline),
            policies=self._names(),
            confidence=self._percent("confidence", default=_CONFIDENCE, low=50.0, high=99.99) / 100.0,
        )

    def _check_keys(self) -> None:
        entries: Mapping[str, Entry] = self._spot.entries
        for key, entry in entries.items():
            if key not in _KEYS:
                text = f"until: unknown key '{key}'"
                self._problems.append(Problem(place=entry.key, message=text, notes=suggest(key, _KEYS)))
        for key, example in (("half_width", "0.5 %"), ("max", "30")):
            if key not in entries:
                text = f"until: the key '{key}' is missing"
                note = f"as in `{key}: {example}`"
                self._problems.append(Problem(place=self._spot.place, message=text, notes=(note,)))

    def _count(self, key: str, *, default: int) -> int:
        entry = self._spot.entries.get(key)
        if entry is None:
            return default
        # One replicate has no spread, so that no round could end with it.
        field = Field(default=default, meaning=key, minimum=2, maximum=REPLICATES_MAX)
        return int(check_value(entry.spot, f"until: {key}", field=field, problems=self._problems))

    def _percent(self, key: str, *, default: float, low: float, high: float) -> float:
        entry = self._spot.entries.get(key)
        if entry is None:
            return default
        match = _PERCENT.fullmatch(str(entry.spot.value))
        if match and low < float(match[1]) <= high:
            return float(match[1])
        text = f"until: {key}: expected a percentage above {low:g} up to {high:g}, found {show(entry.spot.value)}"
        note = f"with its sign, as in `{key}: {'95 %' if key == 'confidence' else '0.5 %'}`"
        self._problems.append(Problem(place=entry.spot.place, message=text, notes=(note,)))
        return default

    def _choice(self, key: str, allowed: list[str], *, default: str) -> str:
        entry = self._spot.entries.get(key)
        return default if entry is None else self._known(entry.spot, f"until: {key}", allowed)

    def _names(self) -> tuple[str, ...]:
        entry = self._spot.entries.get("policies")
        if entry is None:
            return ()
        spots = entry.spot.elements if entry.spot.shape == "list" else (entry.spot,)
        if not spots:
            text = "until: policies: an empty list leaves nothing to wait for"
            note = "remove the key to wait for all policies"
            self._problems.append(Problem(place=entry.spot.place, message=text, notes=(note,)))
        return tuple(self._known(spot, "until: policies", self._policies) for spot in spots)

    def _known(self, spot: Spot, what: str, allowed: list[str]) -> str:
        value: Any = spot.value
        if allowed and value not in allowed:
            notes = suggest(str(value), allowed)
            self._problems.append(Problem(place=spot.place, message=f"{what}: unknown {show(value)}", notes=notes))
        return str(value)
