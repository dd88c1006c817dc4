"""What a sweep varied for nothing: knobs that changed no count, policies that are the same here, a pool never full."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

import polars as pl

from engine.vocabulary import COUNTER_NAMES
from results.compare.dimensions import spelled
from results.render import enumerated
from results.store.labels import LabelledRun

CELLS_MAX: Final = 200_000
"""Sweeps with more cells are not looked at: a note must not take longer than what it stands below."""
_POOL_KNOBS: Final = frozenset({"recycle_in_pte_write", "recycle_skips_roots"})
_TRACE: Final = ("workload", "guest", "replicate")


def idle_notes(run: LabelledRun) -> list[str]:
    """Return a sentence for each thing that the sweep varies and that changed no count in any finished cell."""
    cells = run.scan("cells")
    count = cells.select(pl.len()).collect(engine="streaming").item()
    if not 0 < count <= CELLS_MAX:
        return []
    rows = cells.select(
        "policy", *_TRACE, "memory_mib", "mmu_recycled", counts=pl.struct(COUNTER_NAMES).hash(seed=0)
    ).collect(engine="streaming")
    return [*_idle_knobs(rows, run.knobs), *_idle_pool(rows, run.knobs)]


def _idle_knobs(rows: pl.DataFrame, knobs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    answers = _answers(rows.filter(pl.col("policy").is_in(list(knobs))))
    known = {policy: knobs[policy] for policy in knobs if policy in answers}
    said: set[frozenset[str]] = set()
    for knob in dict.fromkeys(name for own in known.values() for name in own):
        groups: dict[Hashable, list[str]] = defaultdict(list)
        for policy, own in known.items():
            groups[tuple((name, spelled(value)) for name, value in own.items() if name != knob)].append(policy)
        compared = [group for group in groups.values() if len(group) > 1]
        if compared and all(len({answers[policy] for policy in group}) == 1 for group in compared):
            said |= {frozenset(group) for group in compared}
            pairs = "; ".join(_listed(group) for group in compared)
            yield f"changing {knob} alone did nothing here: every count is the same under {pairs}"
    twins: dict[Hashable, list[str]] = defaultdict(list)
    for policy in known:
        twins[answers[policy]].append(policy)
    for group in twins.values():
        if len(group) > 1 and not any(frozenset(group) <= one for one in said):
            yield f"every count is the same under {_listed(group)}: on these traces they are one policy"


def _answers(rows: pl.DataFrame) -> dict[str, Hashable]:
    """Return per policy what it answered on which trace; equal for policies that have the same counts everywhere."""
    lists = (
        rows.sort("policy", *_TRACE)
        .group_by("policy", maintain_order=True)
        .agg(pl.concat_str(*_TRACE, "counts", separator="\0"))
    )
    return {policy: tuple(found) for policy, found in lists.select("policy", "workload").iter_rows()}


def _idle_pool(rows: pl.DataFrame, knobs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if rows["mmu_recycled"].max():
        return
    varied = [name for name in sorted(_POOL_KNOBS) if len({spelled(own.get(name)) for own in knobs.values()}) > 1]
    if rows["memory_mib"].n_unique() > 1:
        varied.insert(0, "the guests' memory")
    if varied:
        verb = "varies" if len(varied) == 1 else "vary"
        yield (
            f"the pool was never full: no shadow page was recycled in any cell, so nothing depends on its size. "
            f"{_listed(varied)} {verb} all the same"
        )


def _listed(names: list[str]) -> str:
    return enumerated(names, most=4 if len(names) <= 4 else 3)
