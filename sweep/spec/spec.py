"""A sweep as its YAML says it, with every default filled in: the value that planning starts from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.fields import checked
from engine.guests import GUEST_FIELDS, Guest
from engine.knobs import KNOBS, Knobs, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadCase:
    """One workload with all its parameters, under the label that tables show."""

    label: str
    name: str
    parameters: dict[str, Any]
    unsound: tuple[str, ...] = ()
    """Why the recording that it replays is unsound, as the file itself says; no part of a cell's identity."""

    def resolved(self) -> dict[str, Any]:
        """Return the case as plain values; `unsound` only where it says something."""
        reasons = {"unsound": list(self.unsound)} if self.unsound else {}
        return {"label": self.label, "name": self.name, "parameters": dict(self.parameters), **reasons}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a cell's coordinates; a cell matches if each coordinate has one of the values."""

    conditions: tuple[tuple[str, tuple[Any, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """When the replicates of a workload on a guest are enough; docs/explanation/statistics.md has the rule."""

    half_width: float
    """Half the width of the interval of each difference, in % of the baseline."""
    minimum: int
    maximum: int
    metric: str
    """`elapsed`, or a counter."""
    baseline: str
    policies: tuple[str, ...]
    """Policies whose differences count; all if empty."""
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Everything that a sweep's YAML can say."""

    name: str
    workloads: tuple[WorkloadCase, ...]
    policies: tuple[Policy, ...]
    guests: tuple[Guest, ...]
    replicates: int
    """Replicates of each workload on each guest; at most so many if there is `until`."""
    seed: int
    window_ns: int
    baseline: str
    costs: str
    include: tuple[Filter, ...] = ()
    exclude: tuple[Filter, ...] = ()
    until: Until | None = None

    def resolved(self) -> dict[str, Any]:
        """Return the specification as plain values, nothing left to a default."""
        return {
            "name": self.name,
            "workloads": [case.resolved() for case in self.workloads],
            "policies": [asdict(policy) for policy in self.policies],
            "guests": [asdict(guest) for guest in self.guests],
            "replicates": self.replicates,
            "seed": self.seed,
            "window_ns": self.window_ns,
            "baseline": self.baseline,
            "costs": self.costs,
            "include": [{key: list(values) for key, values in rule.conditions} for rule in self.include],
            "exclude": [{key: list(values) for key, values in rule.conditions} for rule in self.exclude],
            "until": None if self.until is None else asdict(self.until) | {"policies": list(self.until.policies)},
        }


def spec_from_resolved(resolved: Mapping[str, Any]) -> SweepSpec:
    """Return the sweep whose `resolved()` this is, as a run keeps it.

    Raises:
        KeyError, TypeError, ValueError: it is none, or one of another version of the program.
    """
    return SweepSpec(
        **{key: resolved[key] for key in ("name", "replicates", "seed", "window_ns", "baseline", "costs")},
        workloads=tuple(
            WorkloadCase(**{**case, "unsound": tuple(case.get("unsound", ()))}) for case in resolved["workloads"]
        ),
        policies=tuple(
            Policy(**{**policy, "knobs": Knobs(**checked(policy["knobs"], KNOBS, what="knobs"))})
            for policy in resolved["policies"]
        ),
        guests=tuple(Guest(**checked(guest, GUEST_FIELDS, what="guest")) for guest in resolved["guests"]),
        include=_filters(resolved["include"]),
        exclude=_filters(resolved["exclude"]),
        until=_until(resolved.get("until")),
    )


def _until(rule: dict[str, Any] | None) -> Until | None:
    return None if rule is None else Until(**{**rule, "policies": tuple(rule["policies"])})


def _filters(rules: list[dict[str, list[Any]]]) -> tuple[Filter, ...]:
    return tuple(Filter(conditions=tuple((key, tuple(values)) for key, values in rule.items())) for rule in rules)


_SIZE: Final = ("vcpus", "memory_mib")


def guest_label(guest: Guest) -> str:
    """Return how tables call a guest: its size, and what differs from the usual kind."""
    given = {name: getattr(guest, name) for name in GUEST_FIELDS if name not in _SIZE}
    unusual = [f"{name}={value}" for name, value in given.items() if value != GUEST_FIELDS[name].default]
    gib, rest = divmod(guest.memory_mib, 1024)
    memory = f"{guest.memory_mib}m" if rest else f"{gib}g"
    return " ".join([f"{guest.vcpus}cpu-{memory}", *unusual])


def workload_coordinates(case: WorkloadCase) -> dict[str, Any]:
    """Return what a filter can ask of a workload."""
    return {"workload": case.label, **{f"workload.{key}": value for key, value in case.parameters.items()}}


def policy_coordinates(policy: Policy) -> dict[str, Any]:
    """Return what a filter can ask of a policy."""
    return {"policy": policy.name, **{f"policy.{key}": value for key, value in asdict(policy.knobs).items()}}


def guest_coordinates(guest: Guest) -> dict[str, Any]:
    """Return what a filter can ask of a guest."""
    return {f"guest.{key}": value for key, value in asdict(guest).items()}
