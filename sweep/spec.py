"""A sweep as its YAML says it, with every default filled in: the value that planning starts from."""

from dataclasses import asdict, dataclass
from typing import Any

from engine.guests import Guest
from engine.policies.contract import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadCase:
    """One workload with all its parameters, under the label that tables show."""

    label: str
    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a cell's coordinates; a cell matches if each coordinate has one of the values."""

    conditions: tuple[tuple[str, tuple[Any, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Everything that a sweep's YAML can say."""

    name: str
    workloads: tuple[WorkloadCase, ...]
    policies: tuple[Policy, ...]
    guests: tuple[Guest, ...]
    replicates: int
    seed: int
    window_ns: int
    baseline: str
    costs: str
    include: tuple[Filter, ...] = ()
    exclude: tuple[Filter, ...] = ()

    def resolved(self) -> dict[str, Any]:
        """Return the specification as plain values, nothing left to a default."""
        return {
            "name": self.name,
            "workloads": [asdict(case) for case in self.workloads],
            "policies": [asdict(policy) for policy in self.policies],
            "guests": [asdict(guest) for guest in self.guests],
            "replicates": self.replicates,
            "seed": self.seed,
            "window_ns": self.window_ns,
            "baseline": self.baseline,
            "costs": self.costs,
            "include": [{key: list(values) for key, values in rule.conditions} for rule in self.include],
            "exclude": [{key: list(values) for key, values in rule.conditions} for rule in self.exclude],
        }


def guest_label(guest: Guest) -> str:
    """Return how tables call a guest: its size, and what differs from the usual kind."""
    usual = Guest()
    kinds = ("clear_instruction", "write_protect_instruction", "page_cache_share")
    unusual = [f"{key}={getattr(guest, key)}" for key in kinds if getattr(guest, key) != getattr(usual, key)]
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
