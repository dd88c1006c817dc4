"""What a value of a specification may be: one rule per knob, workload parameter and guest field."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

from engine.guests import CLEAR_INSTRUCTIONS, WRITE_PROTECT_INSTRUCTIONS, Guest
from engine.policies.contract import KNOBS
from engine.workloads.contract import Workload
from sweep.spec_nodes import Spot
from sweep.spec_problems import Problem, suggest

_NAMES: Final = MappingProxyType({bool: "true or false", int: "a whole number", float: "a number", str: "a word"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Type and range of one value; `type` None takes any scalar."""

    type: type | None
    default: Any = None
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def accepts(self, value: Any) -> bool:
        """Say whether the type of `value` fits; a whole number is a number, but true and false are no numbers."""
        if isinstance(value, (list, dict)) or value is None:
            return value is None and self.default is None and self.type is None
        if self.type is None or type(value) is self.type:
            return True
        return self.type is float and type(value) is int

    @property
    def expected(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        words = _NAMES.get(self.type, "a value") if self.type else "a value"
        if self.minimum is not None and self.maximum is not None:
            return f"{words} from {self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"{words} of at least {self.minimum}"
        return words if self.maximum is None else f"{words} of at most {self.maximum}"


def show(value: Any) -> str:
    """Return a value as YAML spells it."""
    if value is None:
        return "nothing"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def check_value(spot: Spot, what: str, *, rule: Rule, problems: list[Problem]) -> Any:
    """Return the value of `spot`, or note why it is not allowed and return the default."""
    value = spot.value
    if not rule.accepts(value):
        found = f"a {spot.shape}" if spot.shape != "scalar" else show(value)
        problems.append(Problem(place=spot.place, message=f"{what}: expected {rule.expected}, found {found}"))
        return rule.default
    if rule.choices and value not in rule.choices:
        notes = suggest(str(value), [str(choice) for choice in rule.choices])
        problems.append(Problem(place=spot.place, message=f"{what}: {show(value)} is not allowed", notes=notes))
        return rule.default
    low, high = rule.minimum, rule.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        problems.append(Problem(place=spot.place, message=f"{what}: expected {rule.expected}, found {show(value)}"))
        return rule.default
    return float(value) if rule.type is float else value


def knob_rules() -> dict[str, Rule]:
    """Return the rule of each policy knob."""
    return {
        name: Rule(
            type=type(info.default),
            default=info.default,
            choices=tuple(info.metadata.get("choices", ())),
            minimum=info.metadata.get("minimum"),
            maximum=info.metadata.get("maximum"),
        )
        for name, info in KNOBS.items()
    }


def workload_rules(workload: Workload) -> dict[str, Rule]:
    """Return the rule of each parameter of `workload`."""
    return {
        name: Rule(
            type=None if parameter.default is None else type(parameter.default),
            default=parameter.default,
            choices=tuple(parameter.choices),
            minimum=parameter.minimum,
            maximum=parameter.maximum,
        )
        for name, parameter in workload.parameters.items()
    }


def guest_rules() -> dict[str, Rule]:
    """Return the rule of each field of a guest.

    vCPUs end at 64 because an event holds the vCPU in a byte and flush masks in one word; memory ends at 1 TiB
    (assumption); at least a twentieth of memory must be left beside the page cache (assumption).
    """
    bounds: Mapping[str, Mapping[str, Any]] = {
        "vcpus": {"minimum": 1, "maximum": 64},
        "memory_mib": {"minimum": 16, "maximum": 1 << 20},
        "clear_instruction": {"choices": CLEAR_INSTRUCTIONS},
        "write_protect_instruction": {"choices": WRITE_PROTECT_INSTRUCTIONS},
        "page_cache_share": {"minimum": 0.0, "maximum": 0.95},
    }
    return {f.name: Rule(type=type(f.default), default=f.default, **bounds.get(f.name, {})) for f in fields(Guest)}
