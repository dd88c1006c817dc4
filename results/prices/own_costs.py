"""The prices that a run carries, so that it can be read where its specification and configs/ are not."""

from results.prices.cost_model import CostModel, CostModelError, cost_model_from_mapping
from results.store.lost import COSTS_FILE
from results.store.run_store import RunStore
from results.store.storage import DamageError, read_json


def own_costs(store: RunStore) -> CostModel | None:
    """Return the prices that a run carries, or None for a run of a program that did not write them.

    Raises:
        DamageError: the file that has them holds no prices.
    """
    if not store.storage.exists(COSTS_FILE):
        return None
    content = read_json(store.storage, COSTS_FILE, dict)
    try:
        return cost_model_from_mapping(content)
    except CostModelError as error:
        problems = "; ".join(str(error).splitlines())
        raise DamageError(
            f"{store.storage.locate(COSTS_FILE)}: no cost model ({problems})\n  restore the file, go on with "
            "`sweep run` and the sweep's YAML file, or give --costs"
        ) from error
