"""Guests of today priced on a machine of long ago: what has to be said then.

Page faults cost three to five times as many cycles in 2011 as today, and hardware that a guest of today expects was not
there. Such prices are no mistake, for policies can be compared on any machine, but no answer of today either.
"""

from collections.abc import Mapping
from typing import Any, Final

from results.prices.cost_model import CostModel

OLD: Final = 2015
"""Machines of years before this one are old for the guests below."""
_GUEST_SIGNS: Final = {"clear_instruction": "stosb", "write_protect_instruction": "cmpxchg"}
"""Field of a guest -> what only a kernel or CPU of the years after 2011 has (docs/reference/guests.md)."""
_WORKLOAD_SIGNS: Final = {"init_on_alloc": 1}
"""Parameter of a workload -> what only guest kernels since 2019 do (docs/reference/workloads.md)."""


def era_notes(resolved_spec: Mapping[str, Any], model: CostModel | None) -> list[str]:
    """Return a sentence if guests of today are priced on an old machine; nothing if not, or if no year is known.

    `resolved_spec` is the specification that a run keeps.
    """
    if model is None or model.year is None or model.year >= OLD:
        return []
    signs = [
        f"{field} {guest[field]}"
        for guest in resolved_spec["guests"]
        for field, value in _GUEST_SIGNS.items()
        if guest.get(field) == value
    ]
    signs += [
        f"{name} {value}"
        for case in resolved_spec["workloads"]
        for name, value in _WORKLOAD_SIGNS.items()
        if case.get("parameters", {}).get(name) == value
    ]
    if not signs:
        return []
    who = f"guests of today ({', '.join(dict.fromkeys(signs))})"
    return [f"{who} are priced on a machine of {model.year} ({model.name}); for one of today: --costs epyc-2020s"]
