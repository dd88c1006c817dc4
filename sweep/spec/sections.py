"""Reads the sections of a sweep: workloads, policies and guests; which cells stay; when replicates are enough."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from engine.fields import Field, show
from engine.guests import GUEST_FIELDS, Guest
from engine.knobs import KNOBS, Policy
from engine.vocabulary import COUNTER_NAMES
from engine.workloads.contract import Workload
from sweep.recordings.array_file import recording_problem, unsound_reasons_of
from sweep.spec.axes import Case, ZipGroup, expand_entry
from sweep.spec.configs import config_names, find_config
from sweep.spec.nodes import Entry, Spot, check_value, read_nodes, read_source
from sweep.spec.policies import PolicyReader
from sweep.spec.problems import Problems, SpecError, suggest
from sweep.spec.spec import (
    Filter,
    SweepSpec,
    Until,
    WorkloadCase,
    guest_coordinates,
    guest_label,
    policy_coordinates,
    workload_coordinates,
)

_SHAPES: Final = ("replicate", "policy", "policy.KNOB", "workload", "workload.PARAMETER", "guest.FIELD")
ELAPSED: Final = "elapsed"
REPLICATES_MAX: Final = 10_000
_KEYS: Final = ("half_width", "max", "min", "metric", "baseline", "policies", "confidence")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?) *%")
_FIRST: Final = 3
"""Replicates of the first round (assumption): the fewest from which a spread can be told apart from none."""
_CONFIDENCE: Final = 95.0


def read_filters(
    spot: Spot | None,
    spec: SweepSpec,
    *,
    what: str,
    whole: bool,
    problems: Problems,
) -> tuple[Filter, ...]:
    """Return the filters of one section; each condition must name a coordinate that some cell has.

    `whole` says that the axes of `spec` were read without a problem, so that a value which is on none is wrong.
    """
    if spot is None:
        return ()
    if spot.shape != "list" or not all(element.shape == "mapping" and element.entries for element in spot.elements):
        text = f"{what}: expected a list of mappings"
        problems.note(spot.place, text, f"as in `{what}: [{{policy: oracle, guest.vcpus: [4, 8]}}]`")
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


def _filter(spot: Spot, known: dict[str, list[Any]], *, what: str, whole: bool, problems: Problems) -> Filter:
    conditions = []
    for key, entry in spot.entries.items():
        if key not in known:
            if whole:
                text = f"{what}: unknown coordinate '{key}'"
                problems.note(entry.key, text, *(*suggest(key, known)[:-1], f"allowed: {', '.join(_SHAPES)}"))
            continue
        wanted = entry.spot.elements if entry.spot.shape == "list" else (entry.spot,)
        for element in wanted:
            if whole and element.value not in known[key]:
                text = f"{what}: no cell has {key} {show(element.value)}"
                problems.note(element.place, text, *suggest(str(element.value), [str(value) for value in known[key]]))
        conditions.append((key, tuple(element.value for element in wanted)))
    return Filter(conditions=tuple(conditions))


class UntilReader:
    """Reads the keys of `until` and notes what is wrong with them; without `policies`, no name of one is checked."""

    def __init__(self, spot: Spot, *, policies: Sequence[str], baseline: str, problems: Problems) -> None:
        self._spot = spot
        self._policies = list(policies)
        self._baseline = baseline
        self._problems = problems

    def read(self) -> Until | None:
        """Return the rule, or None where `until` is no mapping."""
        if self._spot.shape != "mapping":
            text = f"until: expected a mapping, found {show(self._spot.value)}"
            self._problems.note(self._spot.place, text, "as in `until: {half_width: 0.5 %, max: 30}`")
            return None
        self._check_keys()
        first = self._count("min", default=_FIRST)
        last = self._count("max", default=first)
        if last < first:
            entry = self._spot.entries.get("max") or self._spot.entries["min"]
            self._problems.note(entry.spot.place, f"until: max is {last}, which is less than min ({first})")
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
                self._problems.note(entry.key, f"until: unknown key '{key}'", *suggest(key, _KEYS))
        for key, example in (("half_width", "0.5 %"), ("max", "30")):
            if key not in entries:
                self._problems.note(self._spot.place, f"until: the key '{key}' is missing", f"as in `{key}: {example}`")

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
        self._problems.note(entry.spot.place, text, note)
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
            self._problems.note(entry.spot.place, text, "remove the key to wait for all policies")
        return tuple(self._known(spot, "until: policies", self._policies) for spot in spots)

    def _known(self, spot: Spot, what: str, allowed: list[str]) -> str:
        value: Any = spot.value
        if allowed and value not in allowed:
            self._problems.note(spot.place, f"{what}: unknown {show(value)}", *suggest(str(value), allowed))
        return str(value)


class SectionReader:
    """Expands the entries of a section into cases and notes what is wrong."""

    def __init__(
        self,
        *,
        workloads: Mapping[str, Workload],
        zips: Sequence[ZipGroup],
        folder: Path,
        problems: Problems,
    ) -> None:
        self._known = workloads
        self._zips = zips
        self._folder = folder
        self._problems = problems

    def workloads(self, spot: Spot | None) -> tuple[WorkloadCase, ...]:
        """Return the workload cases: each entry a name, or a mapping with `name` and parameters."""
        before = len(self._problems)
        cases: list[tuple[WorkloadCase, Spot]] = []
        for element in self._elements(spot, "workloads"):
            head, given = self._head(element, "workloads", key="name", known=list(self._known))
            name = None if head is None else self._workload_name(head)
            if name is None:
                continue
            label = self._word(given.pop("label", None), f"workload {name}: label") or name
            fields = self._known[name].parameters
            defaults = {key: field.default for key, field in fields.items()}
            for case in self._expand(given, f"workload {name}", section="workloads", fields=fields):
                parameters = {**defaults, **self._file(case.values, given)}
                unsound = self._unsound(parameters)
                found = WorkloadCase(label=case.label(label), name=name, parameters=parameters, unsound=unsound)
                cases.append((found, element))
        self._reject_twins([(case.label, spot) for case, spot in cases], "workload", fix="a `label:`", before=before)
        return tuple(case for case, _ in cases)

    def policies(self, spot: Spot | None) -> tuple[Policy, ...]:
        """Return the policies: each entry a name, a file, or a mapping with `base`, knobs and perhaps a `name`."""
        before = len(self._problems)
        files = PolicyReader(self._problems)
        found: list[tuple[Policy, Spot]] = []
        for element in self._elements(spot, "policies"):
            head, given = self._head(element, "policies", key="base", known=config_names("policies"))
            base = None if head is None else files.find(head, folder=self._folder)
            if base is None:
                continue
            name = self._word(given.pop("name", None), "policy name")
            cases = self._expand(given, f"policy {name or base.name}", section="policies", fields=KNOBS)
            found += [(_policy(base, case, name=name, given=tuple(given)), element) for case in cases]
        self._reject_twins([(policy.name, spot) for policy, spot in found], "policy", fix="a `name:`", before=before)
        return tuple(policy for policy, _ in found)

    def guests(self, spot: Spot | None) -> tuple[Guest, ...]:
        """Return the guests: one mapping, or a list of mappings and of names of files in configs/guests."""
        if spot is None:
            return (Guest(),)
        elements = spot.elements if spot.shape == "list" else (spot,)
        before = len(self._problems)
        guests: list[tuple[Guest, Spot]] = []
        for element in elements:
            guests += [(Guest(**case.values), element) for case in self._guest_cases(element)]
        if not elements:
            self._problems.note(spot.place, "guests: an empty list gives no cell")
        labels = [(guest_label(guest), spot) for guest, spot in guests]
        self._reject_twins(labels, "guest", fix="another size", before=before)
        return tuple(guest for guest, _ in guests)

    def _file(self, values: Mapping[str, Any], given: Mapping[str, Entry]) -> dict[str, Any]:
        """Resolve the `path` of a recorded trace, which must be there before anything starts."""
        name = values.get("path")
        if not isinstance(name, str) or not name:
            return dict(values)
        path = self._folder / name
        if not path.exists():
            self._problems.note(given["path"].spot.place, f"path: there is no file {path}")
        elif problem := recording_problem(path):
            self._problems.note(given["path"].spot.place, f"path: {problem}")
        return {**values, "path": str(path.resolve())}

    def _unsound(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Return why the recording of a workload is unsound; a file that is none was noted as a problem."""
        path = parameters.get("path")
        if not isinstance(path, str) or not path or not Path(path).is_file() or recording_problem(Path(path)):
            return ()
        return unsound_reasons_of(Path(path))

    def _guest_cases(self, element: Spot) -> list[Case]:
        entries = dict(element.entries)
        base = entries.pop("base", None)
        base_spot = base.spot if base else (element if element.shape != "mapping" else None)
        if base_spot is not None:
            entries = {**self._guest_file(base_spot), **entries}
        return self._expand(entries, "guests", section="guests", fields=GUEST_FIELDS)

    def _guest_file(self, spot: Spot) -> dict[str, Entry]:
        path = find_config(spot, "guests", folder=self._folder, problems=self._problems)
        if path is None:
            return {}
        try:
            root, problems = read_nodes(read_source(path))
        except SpecError as error:
            self._problems += error.problems
            return {}
        self._problems += problems
        return dict(root.entries)

    def _expand(
        self, given: Mapping[str, Entry], what: str, *, section: str, fields: Mapping[str, Field]
    ) -> list[Case]:
        zips = [group for group in self._zips if group.section == section]
        return expand_entry(given, what, fields=fields, zips=zips, problems=self._problems)

    def _elements(self, spot: Spot | None, what: str) -> tuple[Spot, ...]:
        if spot is None:
            return ()
        if spot.shape != "list":
            self._problems.note(spot.place, f"{what}: expected a list, found a {spot.shape}")
        elif not spot.elements:
            self._problems.note(spot.place, f"{what}: an empty list gives no cell")
        return spot.elements

    def _head(self, spot: Spot, what: str, *, key: str, known: list[str]) -> tuple[Spot | None, dict[str, Entry]]:
        """Return the name that an entry stands on, and the rest of the entry."""
        if spot.shape != "mapping":
            return spot, {}
        given = dict(spot.entries)
        head = given.pop(key, None)
        if head is None:
            self._problems.note(spot.place, f"{what}: the key '{key}' is missing", *suggest("", known))
            return None, given
        return head.spot, given

    def _workload_name(self, spot: Spot) -> str | None:
        if isinstance(spot.value, str) and spot.value in self._known:
            return spot.value
        text = f"workloads: unknown workload {show(spot.value)}"
        self._problems.note(spot.place, text, *suggest(str(spot.value), self._known))
        return None

    def _word(self, entry: Entry | None, what: str) -> str | None:
        if entry is None:
            return None
        if not isinstance(entry.spot.value, str) or not entry.spot.value.strip():
            self._problems.note(entry.spot.place, f"{what}: expected a word, found {show(entry.spot.value)}")
            return None
        return entry.spot.value

    def _reject_twins(self, labels: Sequence[tuple[str, Spot]], noun: str, *, fix: str, before: int) -> None:
        if len(self._problems) > before:
            return  # A wrong value stands as its default here, and could look like a twin.
        seen: set[str] = set()
        for label, spot in labels:
            if label in seen:
                self._problems.note(spot.place, f"{noun} '{label}' is there twice", f"remove one, or give it {fix}")
            seen.add(label)


def _policy(base: Policy, case: Case, *, name: str | None, given: tuple[str, ...]) -> Policy:
    if not given and name is None:
        return base
    # A changed policy without a name must not pass for its base, so all that was changed becomes part of the label.
    label = case.label(name) if name else Case(values=case.values, swept=tuple(case.values)).label(base.name)
    return base.override(label, case.values) if case.values else replace(base, name=label)
