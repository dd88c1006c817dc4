"""What has to be said with every answer about a run, whoever gives it: the one place where such lines are put together.

A further one is a further line in `notices_of`: in `first` if the answer may mislead whoever has not read it, which
comes before anything else; in `notes` if it qualifies the answer, and comes after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from results.notices.completeness import Completeness, completeness_of
from results.notices.era import era_notes
from results.prices.cost_model import CostModel
from results.prices.own_costs import own_costs
from results.store.run_store import RunStore
from results.store.storage import DamageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Lines that come with an answer about one run or about several."""

    first: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: dict[str, Completeness] = field(default_factory=dict)
    """Run -> how much of it is there, for those that are not complete."""

    @property
    def is_partial(self) -> bool:
        """Whether the answer stands on a part of what was planned."""
        return bool(self.incomplete)

    def content(self) -> dict[str, Any]:
        """Return the fields that each answer in JSON has."""
        found = {run: one.content() for run, one in self.incomplete.items()}
        return {"incomplete": found or None, "notices": [*self.first, *self.notes]}


NOTHING: Final = Notices()


def notices_of(stores: Sequence[RunStore], *, own: bool = False, costs: CostModel | None = None) -> Notices:
    """Return what has to be said with an answer about these runs; `own` if this process holds their locks.

    `costs` are the prices of the answer, if they are not the runs' own.

    Raises:
        StoreError: a file of a run can't be read.
    """
    first: list[str] = []
    notes: list[str] = []
    incomplete: dict[str, Completeness] = {}
    for store in stores:
        found = completeness_of(store, own=own)
        if not found.is_complete:
            incomplete[store.name] = found
            first.append(f"{store.name}: {found.line}" if len(stores) > 1 else found.line)
        first += [f"UNSOUND: {store.name}: {note}" for note in unsound_notes(store.spec())]
        about = era_notes(store.spec(), costs or _prices_of(store))
        notes += [f"{store.name}: {note}" if len(stores) > 1 else note for note in about]
    return Notices(first=tuple(first), notes=tuple(notes), incomplete=incomplete)


def _prices_of(store: RunStore) -> CostModel | None:
    """Return the prices of a run; None if it has none that can be read, which whoever needs them will say."""
    try:
        return own_costs(store)
    except DamageError:
        return None


def unsound_notes(resolved_spec: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason why a recording of the run is unsound; nothing if all are sound.

    `resolved_spec` is the specification that the run keeps. The texts may be a stranger's: print them as such.
    """
    return [
        f"workload {case['label']} replays an unsound recording: {reason}"
        for case in resolved_spec["workloads"]
        for reason in case.get("unsound", [])
    ]
