"""From a specification to batches: a pure function, so that `sweep plan` and `sweep run` can't disagree."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from engine.knobs import Policy
from sweep.plan.cell import DIGEST_BYTES, Coordinate, TraceFamily, knobs_key
from sweep.spec.spec import Filter, SweepSpec, guest_coordinates, guest_label, policy_coordinates, workload_coordinates

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from results.store.cell_ids import CellIds, Fixed


POLICIES_PER_BATCH: Final = 512
"""Policies that share a pass over a trace: as many as the widest word of the lane machine has."""

Kind = tuple[str, str]
"""Label of the workload and of the guest: batches of one kind take about as long, and get their replicates together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """One trace and the policies that meet it."""

    coordinate: Coordinate
    seed: int
    window_ns: int
    policies: tuple[Policy, ...]
    digests: bytes
    """The identities of the cells, one after the other: a driver holds those of all batches."""

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Identities as the tables have them; `cell_ids[lane]` belongs to `policies[lane]`."""
        return tuple([self._digest(lane).hex() for lane in range(len(self.policies))])

    @property
    def kind(self) -> Kind:
        """Workload and guest, as tables call them."""
        return self.coordinate.workload.label, guest_label(self.coordinate.guest)

    def only(self, lanes: Sequence[int]) -> Self:
        """Return the batch reduced to some of its policies."""
        return replace(
            self,
            policies=tuple([self.policies[lane] for lane in lanes]),
            digests=b"".join([self._digest(lane) for lane in lanes]),
        )

    def _digest(self, lane: int) -> bytes:
        return self.digests[lane * DIGEST_BYTES : (lane + 1) * DIGEST_BYTES]


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
    """Return the batches of `spec`; at most POLICIES_PER_BATCH policies share one."""
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
                    digests=family.digests(
                        [keys[lane] for lane in lanes.indices],
                        seed=seed,
                        window_ns=spec.window_ns,
                        fingerprint=fingerprint,
                    ),
                )
                batches.append(batch)
    return Plan(batches=tuple(batches), fingerprint=fingerprint)


def identities(batches: Iterable[PlannedBatch]) -> "Fixed":
    """Return the identities of all cells of some batches, as they are in the tables."""
    import numpy as np

    return np.frombuffer(b"".join([batch.digests for batch in batches]).hex().encode(), f"S{2 * DIGEST_BYTES}")


def first_of_each(batches: Iterable[PlannedBatch]) -> "npt.NDArray[np.bool_]":
    """Return for each cell whether no one before it has its identity: equal knobs on one trace are one cell."""
    import numpy as np

    from results.store.cell_ids import came_before

    return ~came_before(np.frombuffer(b"".join([batch.digests for batch in batches]), np.uint64).reshape(-1, 2))


def remaining(plan: Plan, finished: "CellIds") -> list[PlannedBatch]:
    """Return the batches that still have something to do, reduced to it; cells of the same answer are one."""
    wanted = first_of_each(plan.batches)
    if finished:
        wanted &= ~finished.holds(identities(plan.batches))
    left = []
    start = 0
    for batch in plan.batches:
        lanes = wanted[start : start + len(batch.policies)]
        start += len(lanes)
        if lanes.all():
            left.append(batch)
        elif lanes.any():
            left.append(batch.only(lanes.nonzero()[0].tolist()))
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
        for start in range(0, len(lanes), POLICIES_PER_BATCH):
            indices = tuple(lanes[start : start + POLICIES_PER_BATCH])
            yield _Lanes(indices=indices, policies=tuple(self._policies[lane] for lane in indices))


def _any(rules: tuple[Filter, ...], live: tuple[bool, ...], coordinates: Mapping[str, Any]) -> bool:
    return any(alive and _matches(rule, coordinates) for rule, alive in zip(rules, live, strict=True))


def _matches(rule: Filter, coordinates: Mapping[str, Any]) -> bool:
    """Say whether no condition on the given coordinates fails; conditions on other coordinates are left open."""
    return all(coordinates[key] in values for key, values in rule.conditions if key in coordinates)
