"""From a specification to batches: a pure function, so that `sweep plan` and `sweep run` can't disagree."""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.policies.contract import Policy
from engine.vocabulary import LANES_MAX
from sweep.cell import cell_ids, knobs_key, trace_seed
from sweep.coordinate import Coordinate
from sweep.spec import Filter, SweepSpec, guest_coordinates, policy_coordinates, workload_coordinates


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """One trace and the policies that meet it; `cell_ids[lane]` belongs to `policies[lane]`."""

    coordinate: Coordinate
    seed: int
    window_ns: int
    policies: tuple[Policy, ...]
    cell_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All batches of a sweep, in an order that depends on the specification only."""

    batches: tuple[PlannedBatch, ...]
    fingerprint: str

    @property
    def cell_count(self) -> int:
        """Cells of the sweep."""
        return sum(len(batch.policies) for batch in self.batches)


def plan_sweep(spec: SweepSpec, fingerprint: str) -> Plan:
    """Return the batches of `spec`; at most 64 policies share one."""
    keys = {policy.name: knobs_key(policy.knobs) for policy in spec.policies}
    by_policy = [policy_coordinates(policy) for policy in spec.policies]
    filters = _Filters(spec)
    batches: list[PlannedBatch] = []
    for workload, guest, replicate in itertools.product(spec.workloads, spec.guests, range(spec.replicates)):
        trace = {**workload_coordinates(workload), **guest_coordinates(guest), "replicate": replicate}
        lanes = filters.lanes(trace, by_policy)
        if not lanes:
            continue
        coordinate = Coordinate(workload=workload, guest=guest, replicate=replicate)
        seed = trace_seed(spec.seed, coordinate)
        policies = [spec.policies[lane] for lane in lanes]
        ids = cell_ids(
            coordinate,
            [keys[policy.name] for policy in policies],
            seed=seed,
            window_ns=spec.window_ns,
            fingerprint=fingerprint,
        )
        for start in range(0, len(policies), LANES_MAX):
            batch = PlannedBatch(
                coordinate=coordinate,
                seed=seed,
                window_ns=spec.window_ns,
                policies=tuple(policies[start : start + LANES_MAX]),
                cell_ids=tuple(ids[start : start + LANES_MAX]),
            )
            batches.append(batch)
    return Plan(batches=tuple(batches), fingerprint=fingerprint)


def remaining(plan: Plan, finished: Collection[str]) -> list[PlannedBatch]:
    """Return the batches that still have something to do, reduced to it; cells of the same answer are one."""
    done = set(finished)
    left = []
    for batch in plan.batches:
        keep = []
        for lane, cell_id in enumerate(batch.cell_ids):
            if cell_id not in done:
                done.add(cell_id)
                keep.append(lane)
        if len(keep) == len(batch.policies):
            left.append(batch)
        elif keep:
            policies = tuple(batch.policies[lane] for lane in keep)
            left.append(replace(batch, policies=policies, cell_ids=tuple(batch.cell_ids[lane] for lane in keep)))
    return left


class _Filters:
    """Include and exclude, split into what a trace decides and what a policy decides."""

    def __init__(self, spec: SweepSpec) -> None:
        self._include = spec.include
        self._exclude = spec.exclude
        self._lanes: dict[tuple[tuple[bool, ...], tuple[bool, ...]], list[int]] = {}

    def lanes(self, trace: Mapping[str, Any], policies: list[dict[str, Any]]) -> list[int]:
        """Return the policies that stay for a trace."""
        include = tuple(_matches(rule, trace) for rule in self._include)
        exclude = tuple(_matches(rule, trace) for rule in self._exclude)
        if (include, exclude) not in self._lanes:
            self._lanes[include, exclude] = [
                lane
                for lane, coordinates in enumerate(policies)
                if (not include or _any(self._include, include, coordinates))
                and not _any(self._exclude, exclude, coordinates)
            ]
        return self._lanes[include, exclude]


def _any(rules: tuple[Filter, ...], live: tuple[bool, ...], coordinates: Mapping[str, Any]) -> bool:
    return any(alive and _matches(rule, coordinates) for rule, alive in zip(rules, live, strict=True))


def _matches(rule: Filter, coordinates: Mapping[str, Any]) -> bool:
    """Say whether no condition on the given coordinates fails; conditions on other coordinates are left open."""
    return all(coordinates[key] in values for key, values in rule.conditions if key in coordinates)
