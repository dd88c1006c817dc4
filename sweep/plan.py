"""From a specification to batches: a pure function, so that `sweep plan` and `sweep run` can't disagree."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.policies.contract import Policy
from engine.vocabulary import LANES_MAX
from sweep.cell import TraceFamily, knobs_key
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
    keys = [knobs_key(policy.knobs) for policy in spec.policies]
    by_policy = [policy_coordinates(policy) for policy in spec.policies]
    filters = _Filters(spec)
    batches: list[PlannedBatch] = []
    for workload, guest in itertools.product(spec.workloads, spec.guests):
        family = TraceFamily(workload, guest)
        trace = {**workload_coordinates(workload), **guest_coordinates(guest)}
        for replicate, seed in enumerate(family.seeds(spec.seed, range(spec.replicates))):
            chosen = filters.lanes({**trace, "replicate": replicate}, by_policy)
            coordinate = Coordinate(workload=workload, guest=guest, replicate=replicate)
            for lanes in chosen:
                batch = PlannedBatch(
                    coordinate=coordinate,
                    seed=seed,
                    window_ns=spec.window_ns,
                    policies=lanes.policies,
                    cell_ids=family.cell_ids(
                        [keys[lane] for lane in lanes.indices],
                        seed=seed,
                        window_ns=spec.window_ns,
                        fingerprint=fingerprint,
                    ),
                )
                batches.append(batch)
    return Plan(batches=tuple(batches), fingerprint=fingerprint)


def remaining(plan: Plan, finished: Collection[str]) -> list[PlannedBatch]:
    """Return the batches that still have something to do, reduced to it; cells of the same answer are one."""
    done = set(finished)
    left = []
    for batch in plan.batches:
        ids = batch.cell_ids
        if done.isdisjoint(ids) and len(set(ids)) == len(ids):
            left.append(batch)
        else:
            first = {cell: lane for lane, cell in reversed(list(enumerate(ids))) if cell not in done}
            keep = sorted(first.values())
            if keep:
                policies = tuple(batch.policies[lane] for lane in keep)
                left.append(replace(batch, policies=policies, cell_ids=tuple(ids[lane] for lane in keep)))
        done.update(ids)
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lanes:
    """Policies that share a batch, and their indices in the specification."""

    indices: tuple[int, ...]
    policies: tuple[Policy, ...]


class _Filters:
    """Include and exclude, split into what a trace decides and what a policy decides."""

    def __init__(self, spec: SweepSpec) -> None:
        self._include = spec.include
        self._exclude = spec.exclude
        self._policies = spec.policies
        self._every = tuple(self._cut(range(len(spec.policies))))
        self._lanes: dict[tuple[tuple[bool, ...], tuple[bool, ...]], tuple[_Lanes, ...]] = {}

    def lanes(self, trace: Mapping[str, Any], policies: list[dict[str, Any]]) -> tuple[_Lanes, ...]:
        """Return the policies that stay for a trace, cut into batches."""
        if not self._include and not self._exclude:
            return self._every
        include = tuple([_matches(rule, trace) for rule in self._include])
        exclude = tuple([_matches(rule, trace) for rule in self._exclude])
        if (include, exclude) not in self._lanes:
            stay = [
                lane
                for lane, coordinates in enumerate(policies)
                if (not include or _any(self._include, include, coordinates))
                and not _any(self._exclude, exclude, coordinates)
            ]
            self._lanes[include, exclude] = tuple(self._cut(stay))
        return self._lanes[include, exclude]

    def _cut(self, lanes: Sequence[int]) -> Iterator[_Lanes]:
        for start in range(0, len(lanes), LANES_MAX):
            indices = tuple(lanes[start : start + LANES_MAX])
            yield _Lanes(indices=indices, policies=tuple(self._policies[lane] for lane in indices))


def _any(rules: tuple[Filter, ...], live: tuple[bool, ...], coordinates: Mapping[str, Any]) -> bool:
    return any(alive and _matches(rule, coordinates) for rule, alive in zip(rules, live, strict=True))


def _matches(rule: Filter, coordinates: Mapping[str, Any]) -> bool:
    """Say whether no condition on the given coordinates fails; conditions on other coordinates are left open."""
    return all(coordinates[key] in values for key, values in rule.conditions if key in coordinates)
