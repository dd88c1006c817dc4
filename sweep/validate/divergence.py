"""Describes the first place where the engine and KVM part: the events before it and what each side did to that page."""

from typing import Final

import polars as pl

from engine.vocabulary import Access, Event, Instruction
from sweep.recordings.kvm.reading import KvmTruth

EVENTS_SHOWN: Final = 20
REACTIONS_SHOWN: Final = 10


def describe_first(truth: KvmTruth, real: pl.DataFrame, ours: pl.DataFrame) -> str | None:
    """Return the first divergence in words, or None; both tables have a column `paired`."""
    lost = pl.concat(
        [
            real.filter(~pl.col("paired")).with_columns(side=pl.lit("KVM")),
            ours.filter(~pl.col("paired")).with_columns(side=pl.lit("the engine")),
        ]
    ).sort("event", "side")
    if lost.is_empty():
        return None
    first = lost.row(0, named=True)
    event, gfn = int(first["event"]), int(first["gfn"])
    lines = [
        f"event {event}: only {first['side']} did {_reaction(first)}",
        "",
        f"the {EVENTS_SHOWN} events before and the event itself:",
        *(_event(truth, index) for index in range(max(0, event - EVENTS_SHOWN), min(event + 1, len(truth.events)))),
    ]
    for name, table in (("KVM", real), ("the engine", ours)):
        before = table.filter((pl.col("gfn") == gfn) & (pl.col("event") <= event)).tail(REACTIONS_SHOWN)
        lines += ["", f"{name} and gfn {gfn:#x} so far: {_state(before)}"]
        lines += [f"  event {row['event']}: {_reaction(row)}" for row in before.to_dicts()]
    return "\n".join(lines)


def _reaction(row: dict[str, object]) -> str:
    return f"{row['kind']} gfn {row['gfn']:#x} level {row['level']} role {row['role']:#x}"


def _state(reactions: pl.DataFrame) -> str:
    """Say what the reactions shown leave of the page."""
    state: dict[tuple[int, int], str] = {}
    for row in reactions.to_dicts():
        key = (row["level"], row["role"])
        if row["kind"] in ("get_page_new", "get_page_existing", "sync"):
            state[key] = "in sync"
        elif row["kind"] == "unsync":
            state[key] = "out of sync"
        elif row["level"]:
            state[key] = f"zapped ({row['kind']})"
    known = [f"level {level} role {role:#x} {what}" for (level, role), what in sorted(state.items())]
    return "; ".join(known) or "no shadow page known"


def _event(truth: KvmTruth, index: int) -> str:
    event = truth.events[index]
    kind = Event(int(event["kind"]))
    text = f"  {index} {kind.name} address {int(event['address']):#x}"
    if kind in (Event.STORE, Event.CR3, Event.CONTENT, Event.LINK):
        text += f" value {int(event['value']):#x}"
    if kind is Event.STORE:
        text += f" {Instruction(int(event['insn'])).name.lower()} width {event['width']} count {event['count']}"
    access = Access(int(event["access"]))
    return f"{text} {access.name or ''}".rstrip() + f" (row {truth.row[index]})"
