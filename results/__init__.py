"""Results of sweeps: tables on disk, prices, statistics, summaries. `results.open(path)` is where to start.

Importing this package is cheap; polars and pyarrow are loaded with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from results.compare import Comparison
    from results.completeness import Completeness
    from results.cost_model import CostModel, cost_model_from_mapping
    from results.diff import diff_runs
    from results.explain import Explanation
    from results.metrics import metric_expressions
    from results.pairing import ComparisonError
    from results.run import Run
    from results.run import open_run as open  # noqa: A004
    from results.store import RunStore
    from results.summary import seed_comparison, summarize
    from results.uncertainty import Doubt

__all__ = [
    "Comparison",
    "ComparisonError",
    "Completeness",
    "CostModel",
    "Doubt",
    "Explanation",
    "Run",
    "RunStore",
    "cost_model_from_mapping",
    "diff_runs",
    "metric_expressions",
    "open",
    "seed_comparison",
    "summarize",
]

_HOMES: Final = {
    "Comparison": ("results.compare", "Comparison"),
    "ComparisonError": ("results.pairing", "ComparisonError"),
    "Completeness": ("results.completeness", "Completeness"),
    "CostModel": ("results.cost_model", "CostModel"),
    "Doubt": ("results.uncertainty", "Doubt"),
    "Explanation": ("results.explain", "Explanation"),
    "Run": ("results.run", "Run"),
    "RunStore": ("results.store", "RunStore"),
    "cost_model_from_mapping": ("results.cost_model", "cost_model_from_mapping"),
    "diff_runs": ("results.diff", "diff_runs"),
    "metric_expressions": ("results.metrics", "metric_expressions"),
    "open": ("results.run", "open_run"),
    "seed_comparison": ("results.summary", "seed_comparison"),
    "summarize": ("results.summary", "summarize"),
}
"""Public name -> the module and the name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'results' has no attribute '{name}'. Public names: {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
