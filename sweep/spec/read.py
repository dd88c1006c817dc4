"""Reads a sweep's YAML into a SweepSpec, or says everything that is wrong with it at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.fields import Field, show
from engine.workloads.contract import Workload
from sweep.spec.axes import SECTIONS, ZipGroup, read_zip
from sweep.spec.configs import check_costs
from sweep.spec.nodes import Spot, check_value, read_nodes, read_source
from sweep.spec.override import apply_overrides
from sweep.spec.problems import Place, Problem, Problems, Source, SpecError, suggest
from sweep.spec.sections import REPLICATES_MAX, SectionReader, UntilReader, read_filters
from sweep.spec.spec import SweepSpec, Until

_KEYS: Final = (
    "name", "workloads", "policies", "guests", "replicates", "until", "seed", "window", "baseline", "costs",
    "zip", "include", "exclude",
)  # fmt: skip
_WINDOW: Final = re.compile(r"(\d+(?:\.\d+)?) *(ns|us|ms|s)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEFAULT_WINDOW_NS: Final = 10_000_000
"""Window of an unsaid length: 10 ms of native guest time, as the engine's own default."""


def load_spec(path: Path, overrides: Sequence[str] = (), *, workloads: Mapping[str, Workload]) -> SweepSpec:
    """Return the sweep of a file with `-s` overrides laid over it.

    Raises:
        SpecError: anything is wrong; it holds every problem that was found.
    """
    return read_spec(read_source(path), overrides, workloads=workloads, folder=path.parent)


def read_spec(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    workloads: Mapping[str, Workload],
    folder: Path = Path(),
) -> SweepSpec:
    """Return the sweep of a text; `folder` is what the paths in it are relative to.

    Raises:
        SpecError: anything is wrong; it holds every problem that was found.
    """
    root, problems = read_nodes(source)
    root = apply_overrides(root, overrides, problems=problems)
    if root.shape != "mapping":
        raise SpecError([Problem(place=root.place, message=f"a sweep is a mapping with the keys {', '.join(_KEYS)}")])
    spec = _Reader(root, workloads=workloads, folder=folder, problems=problems).read(Path(source.name).stem)
    if problems:
        raise SpecError(problems)
    return spec


class _Reader:
    """Reads the top level, section by section, and collects problems instead of stopping at one."""

    def __init__(self, root: Spot, *, workloads: Mapping[str, Workload], folder: Path, problems: Problems) -> None:
        self.root = root
        self.workloads = workloads
        self.folder = folder
        self.problems = problems

    def read(self, stem: str) -> SweepSpec:
        """Return the sweep; it is of use only if no problem was noted."""
        self._check_keys()
        zips = read_zip(self._spot("zip"), self.problems)
        self._check_zips(zips)
        before = len(self.problems)
        sections = SectionReader(workloads=self.workloads, zips=zips, folder=self.folder, problems=self.problems)
        workloads = sections.workloads(self._spot("workloads"))
        policies = sections.policies(self._spot("policies"))
        guests = sections.guests(self._spot("guests"))
        whole = len(self.problems) == before
        names = [policy.name for policy in policies]
        baseline = self._baseline(names, whole=whole)
        replicates = self._number("replicates", default=1, low=1, high=REPLICATES_MAX)
        until = self._until(names if whole else [], baseline)
        spec = SweepSpec(
            name=self._name(stem),
            workloads=workloads,
            policies=policies,
            guests=guests,
            replicates=replicates if until is None else until.maximum,
            seed=self._number("seed", default=0, low=0, high=2**63 - 1),
            window_ns=self._window(),
            baseline=baseline,
            costs=check_costs(self._spot("costs"), folder=self.folder, problems=self.problems),
            until=until,
        )
        include = read_filters(self._spot("include"), spec, what="include", whole=whole, problems=self.problems)
        exclude = read_filters(self._spot("exclude"), spec, what="exclude", whole=whole, problems=self.problems)
        return replace(spec, include=include, exclude=exclude)

    def _check_keys(self) -> None:
        for key, entry in self.root.entries.items():
            if key not in _KEYS:
                self.problems.note(entry.key, f"unknown key '{key}'", *suggest(key, _KEYS))
            elif entry.spot.shape == "scalar" and entry.spot.value is None:
                note = "give it a value, or remove the key to get the default"
                self.problems.note(entry.key, f"{key}: nothing is given", note)
        for key in ("workloads", "policies"):
            if key not in self.root.entries:
                place = Place(source=self.root.place.source, line=-1, column=0)
                self.problems.note(place, f"the key '{key}' is missing")

    def _spot(self, key: str) -> Spot | None:
        entry = self.root.entries.get(key)
        return entry.spot if entry is not None and (entry.spot.value is not None) else None

    def _number(self, key: str, *, default: int, low: int, high: int) -> int:
        spot = self._spot(key)
        field = Field(default=default, meaning=key, minimum=low, maximum=high)
        return default if spot is None else int(check_value(spot, key, field=field, problems=self.problems))

    def _name(self, stem: str) -> str:
        spot = self._spot("name")
        if spot is None:
            return stem
        if not isinstance(spot.value, str) or not _NAME.fullmatch(spot.value):
            text = f"name: expected letters, digits, '.', '_' and '-', found {show(spot.value)}"
            self.problems.note(spot.place, text)
            return stem
        return spot.value

    def _window(self) -> int:
        spot = self._spot("window")
        if spot is None:
            return _DEFAULT_WINDOW_NS
        match = _WINDOW.fullmatch(str(spot.value))
        scale = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
        length = round(float(match[1]) * scale[match[2]]) if match else 0
        if not 1_000 <= length < 2**63:
            text = f"window: expected a length of at least 1 us with its unit, found {show(spot.value)}"
            self.problems.note(spot.place, text, "units: ns, us, ms, s; as in `10 ms`")
            return _DEFAULT_WINDOW_NS
        return length

    def _baseline(self, names: list[str], *, whole: bool) -> str:
        spot = self._spot("baseline")
        if spot is None:
            return names[0] if names else ""
        if whole and spot.value not in names:
            text = f"baseline: {show(spot.value)} is no policy of this sweep"
            self.problems.note(spot.place, text, *suggest(str(spot.value), names))
        return str(spot.value)

    def _until(self, policies: list[str], baseline: str) -> Until | None:
        spot = self._spot("until")
        if spot is None:
            return None
        if "replicates" in self.root.entries:
            text = "replicates: `until` says how many there are; give `min` and `max` there"
            self.problems.note(self.root.entries["replicates"].key, text)
        return UntilReader(spot, policies=policies, baseline=baseline, problems=self.problems).read()

    def _check_zips(self, zips: Sequence[ZipGroup]) -> None:
        for group in zips:
            spot = self._spot(group.section)
            entries = [] if spot is None else [spot, *spot.elements]
            if not any(key in entry.entries for entry in entries for key in group.keys):
                text = f"zip: no entry of {group.section} gives {' or '.join(group.keys)}"
                note = f"sections are {', '.join(SECTIONS)}; the axes must be lists in the same entry"
                self.problems.note(group.place, text, note)
