"""Reads policies: files of configs/policies by their name, any other file by its path."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from engine.fields import Field
from engine.knobs import KNOBS, Knobs, Policy
from sweep.spec.configs import CONFIGS, find_config
from sweep.spec.nodes import Spot, check_value, read_nodes, read_source
from sweep.spec.problems import Problems, SpecError, suggest

_KEYS: Final = ("summary", "source", "order", "base", "knobs")
_TEXTS: Final = MappingProxyType(
    {
        "summary": "say in one sentence how the hypervisor reacts",
        "source": "name what another person can open: a file of a kernel version, a commit, a paper; or an assumption",
    }
)
"""Key that each file has -> what to write there."""
_ORDER: Final = Field(default=1000, meaning="place in lists of policies", minimum=0, maximum=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    policy: Policy
    order: int


class PolicyReader:
    """Reads the files of policies and those that they are based on, each once, and notes what is wrong with them."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._files: dict[Path, _File | None] = {}
        self._open: list[Path] = []

    def find(self, spot: Spot, *, folder: Path) -> Policy | None:
        """Return the policy of a name or of a path relative to `folder`, or note why there is none."""
        path = find_config(spot, "policies", folder=folder, problems=self._problems)
        if path is None:
            return None
        if path.resolve() in self._open:
            chain = [one.stem for one in self._open[self._open.index(path.resolve()) :]]
            text = f"policies: the base of '{path.stem}' leads back to itself: {' -> '.join([*chain, path.stem])}"
            self._problems.note(spot.place, text, "a chain of bases ends in a file without `base`")
            return None
        found = self.read(path)
        return None if found is None else found.policy

    def read(self, path: Path) -> _File | None:
        """Return what a file says, or note what is wrong with it."""
        key = path.resolve()
        if key not in self._files:
            self._open.append(key)
            self._files[key] = self._read(path)
            self._open.remove(key)
        return self._files[key]

    def _read(self, path: Path) -> _File | None:
        before = len(self._problems)
        try:
            root, found = read_nodes(read_source(path))
        except SpecError as error:
            self._problems += error.problems
            return None
        self._problems += found
        if root.shape != "mapping":
            self._problems.note(root.place, f"a policy is a mapping with the keys {', '.join(_KEYS)}")
            return None
        what = f"policy {path.stem}"
        for key, entry in root.entries.items():
            if key not in _KEYS:
                text = f"{what}: unknown key '{key}'"
                notes = ("knobs stand under `knobs:`",) if key in KNOBS else suggest(key, _KEYS)
                self._problems.note(entry.key, text, *notes)
        texts = {key: self._text(root, key, what) for key in _TEXTS}
        base = self._base(root, path)
        knobs = self._knobs(root, what)
        order = root.entries.get("order")
        place = _ORDER.default if order is None else self._checked(order.spot, f"{what}: order", _ORDER)
        if base is None or len(self._problems) > before:
            return None
        return _File(policy=Policy(name=path.stem, knobs=replace(base, **knobs), **texts), order=place)

    def _text(self, root: Spot, key: str, what: str) -> str:
        entry = root.entries.get(key)
        value = None if entry is None else entry.spot.value
        if isinstance(value, str) and value.strip():
            return value
        place = root.place if entry is None else entry.key
        text = f"{what}: the key '{key}' is missing" if entry is None else f"{what}: {key}: expected a text"
        self._problems.note(place, text, _TEXTS[key])
        return ""

    def _base(self, root: Spot, path: Path) -> Knobs | None:
        """Return the knobs that a file starts from; without `base` they are the defaults, KVM of Linux 6.1."""
        entry = root.entries.get("base")
        if entry is None:
            return Knobs()
        policy = self.find(entry.spot, folder=path.parent)
        return None if policy is None else policy.knobs

    def _knobs(self, root: Spot, what: str) -> dict[str, Any]:
        entry = root.entries.get("knobs")
        if entry is None:
            return {}
        if entry.spot.shape != "mapping":
            text = f"{what}: knobs: expected a mapping, as in `knobs: {{flood_threshold: 10}}`"
            self._problems.note(entry.spot.place, text)
            return {}
        found = {}
        for knob, given in entry.spot.entries.items():
            if knob in KNOBS:
                found[knob] = self._checked(given.spot, f"{what}: {knob}", KNOBS[knob])
            else:
                self._problems.note(given.key, f"{what}: unknown knob '{knob}'", *suggest(knob, sorted(KNOBS)))
        return found

    def _checked(self, spot: Spot, what: str, field: Field) -> Any:
        return check_value(spot, what, field=field, problems=self._problems)


def shipped_policies() -> Mapping[str, Policy]:
    """Return the policies of configs/policies by name, in the order that the files ask for.

    Raises:
        SpecError: a file is wrong; it holds every problem that was found.
    """
    problems = Problems()
    reader = PolicyReader(problems)
    read = [reader.read(path) for path in sorted((CONFIGS / "policies").glob("*.yaml"))]
    if problems:
        raise SpecError(problems)
    files = sorted((file for file in read if file is not None), key=lambda file: (file.order, file.policy.name))
    return MappingProxyType({file.policy.name: file.policy for file in files})
