"""Reads `include` and `exclude`: which cells of the grid stay."""

from collections.abc import Iterable
from typing import Any, Final

from engine.fields import show
from sweep.spec.nodes import Spot
from sweep.spec.problems import Problem, suggest
from sweep.spec.spec import Filter, SweepSpec, guest_coordinates, policy_coordinates, workload_coordinates

_SHAPES: Final = ("replicate", "policy", "policy.KNOB", "workload", "workload.PARAMETER", "guest.FIELD")


def read_filters(
    spot: Spot | None,
    spec: SweepSpec,
    *,
    what: str,
    whole: bool,
    problems: list[Problem],
) -> tuple[Filter, ...]:
    """Return the filters of one section; each condition must name a coordinate that some cell has.

    `whole` says that the axes of `spec` were read without a problem, so that a value which is on none is wrong.
    """
    if spot is None:
        return ()
    if spot.shape != "list" or not all(element.shape == "mapping" and element.entries for element in spot.elements):
        text = f"{what}: expected a list of mappings"
        note = f"as in `{what}: [{{policy: oracle, guest.vcpus: [4, 8]}}]`"
        problems.append(Problem(place=spot.place, message=text, notes=(note,)))
        return ()
    known = _known_values(spec)
    return tuple(_filter(element, known, what=what, whole=whole, problems=problems) for element in spot.elements)


def _known_values(spec: SweepSpec) -> dict[str, list[Any]]:
    known: dict[str, list[Any]] = {"replicate": list(range(spec.replicates))}
    rows: Iterable[dict[str, Any]] = (
        *map(policy_coordinates, spec.policies),
        *map(workload_coordinates, spec.workloads),
        *map(guest_coordinates, spec.guests),
    )
    for row in rows:
        for key, value in row.items():
            values = known.setdefault(key, [])
            if value not in values:
                values.append(value)
    return known


def _filter(spot: Spot, known: dict[str, list[Any]], *, what: str, whole: bool, problems: list[Problem]) -> Filter:
    conditions = []
    for key, entry in spot.entries.items():
        if key not in known:
            if whole:
                text = f"{what}: unknown coordinate '{key}'"
                notes = (*suggest(key, known)[:-1], f"allowed: {', '.join(_SHAPES)}")
                problems.append(Problem(place=entry.key, message=text, notes=notes))
            continue
        wanted = entry.spot.elements if entry.spot.shape == "list" else (entry.spot,)
        for element in wanted:
            if whole and element.value not in known[key]:
                text = f"{what}: no cell has {key} {show(element.value)}"
                notes = suggest(str(element.value), [str(value) for value in known[key]])
                problems.append(Problem(place=element.place, message=text, notes=notes))
        conditions.append((key, tuple(element.value for element in wanted)))
    return Filter(conditions=tuple(conditions))
