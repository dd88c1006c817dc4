"""The prices that a run carries, so that it can be read where its specification and configs/ are not."""

import json
from typing import Final

from results.cost_model import CostModel, cost_model_from_mapping
from results.store import RunStore

COSTS_FILE: Final = "costs.json"
"""The cost model that the specification names, as the last start of the sweep read it."""


def own_costs(store: RunStore) -> CostModel | None:
    """Return the prices that a run carries, or None for a run of a program that did not write them."""
    if not store.storage.exists(COSTS_FILE):
        return None
    return cost_model_from_mapping(json.loads(store.storage.read(COSTS_FILE)))
