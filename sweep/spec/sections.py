"""Reads the three sections that span a sweep: workloads, policies and guests."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.fields import Field, show
from engine.guests import GUEST_FIELDS, Guest
from engine.knobs import KNOBS, Policy
from engine.workloads.contract import Workload
from sweep.recordings.array_file import recording_problem, unsound_reasons_of
from sweep.spec.axes import Case, ZipGroup, expand_entry
from sweep.spec.configs import config_names, find_config
from sweep.spec.nodes import Entry, Spot, read_nodes, read_source
from sweep.spec.policies import PolicyReader
from sweep.spec.problems import Problem, SpecError, suggest
from sweep.spec.spec import WorkloadCase, guest_label


class SectionReader:
    """Expands the entries of a section into cases and notes what is wrong."""

    def __init__(
        self,
        *,
        workloads: Mapping[str, Workload],
        zips: Sequence[ZipGroup],
        folder: Path,
        problems: list[Problem],
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
        self._reject_twins(
            [(case.label, element) for case, element in cases], "workload", fix="a `label:`", before=before
        )
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
        self._reject_twins(
            [(policy.name, element) for policy, element in found], "policy", fix="a `name:`", before=before
        )
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
            self._problems.append(Problem(place=spot.place, message="guests: an empty list gives no cell"))
        self._reject_twins(
            [(guest_label(guest), element) for guest, element in guests], "guest", fix="another size", before=before
        )
        return tuple(guest for guest, _ in guests)

    def _file(self, values: Mapping[str, Any], given: Mapping[str, Entry]) -> dict[str, Any]:
        """Resolve the `path` of a recorded trace, which must be there before anything starts."""
        name = values.get("path")
        if not isinstance(name, str) or not name:
            return dict(values)
        path = self._folder / name
        if not path.exists():
            text = f"path: there is no file {path}"
            self._problems.append(Problem(place=given["path"].spot.place, message=text))
        elif problem := recording_problem(path):
            self._problems.append(Problem(place=given["path"].spot.place, message=f"path: {problem}"))
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
            self._problems.append(Problem(place=spot.place, message=f"{what}: expected a list, found a {spot.shape}"))
        elif not spot.elements:
            self._problems.append(Problem(place=spot.place, message=f"{what}: an empty list gives no cell"))
        return spot.elements

    def _head(self, spot: Spot, what: str, *, key: str, known: list[str]) -> tuple[Spot | None, dict[str, Entry]]:
        """Return the name that an entry stands on, and the rest of the entry."""
        if spot.shape != "mapping":
            return spot, {}
        given = dict(spot.entries)
        head = given.pop(key, None)
        if head is None:
            text = f"{what}: the key '{key}' is missing"
            self._problems.append(Problem(place=spot.place, message=text, notes=suggest("", known)))
            return None, given
        return head.spot, given

    def _workload_name(self, spot: Spot) -> str | None:
        if isinstance(spot.value, str) and spot.value in self._known:
            return spot.value
        text = f"workloads: unknown workload {show(spot.value)}"
        self._problems.append(Problem(place=spot.place, message=text, notes=suggest(str(spot.value), self._known)))
        return None

    def _word(self, entry: Entry | None, what: str) -> str | None:
        if entry is None:
            return None
        if not isinstance(entry.spot.value, str) or not entry.spot.value.strip():
            text = f"{what}: expected a word, found {show(entry.spot.value)}"
            self._problems.append(Problem(place=entry.spot.place, message=text))
            return None
        return entry.spot.value

    def _reject_twins(self, labels: Sequence[tuple[str, Spot]], noun: str, *, fix: str, before: int) -> None:
        if len(self._problems) > before:
            return  # A wrong value stands as its default here, and could look like a twin.
        seen: set[str] = set()
        for label, spot in labels:
            if label in seen:
                text = f"{noun} '{label}' is there twice"
                note = f"remove one, or give it {fix}"
                self._problems.append(Problem(place=spot.place, message=text, notes=(note,)))
            seen.add(label)


def _policy(base: Policy, case: Case, *, name: str | None, given: tuple[str, ...]) -> Policy:
    if not given and name is None:
        return base
    # A changed policy without a name must not pass for its base, so all that was changed becomes part of the label.
    label = case.label(name) if name else Case(values=case.values, swept=tuple(case.values)).label(base.name)
    return base.override(label, case.values) if case.values else replace(base, name=label)
