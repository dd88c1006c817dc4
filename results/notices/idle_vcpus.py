"""How much of the time is interrupts of vCPUs that run nothing: the model sends them, and a real host does not.

A remote flush interrupts every other vCPU of the guest, whether it runs or not; KVM kicks those that are in guest mode
alone. Which vCPUs run when is no column of the tables. But their native run time is: over the native time of the trace
it is how many run at once, b on average. Of the vCPUs that a flush interrupts, b - 1 may have been running, and what
goes beyond is counted here as idle. It is an estimate, for flushes and the vCPUs that run may come together in time.

Whether a run's engine interrupts all is seen from its rows: then each flush counts one interrupt less than there are
vCPUs. With two vCPUs that is so in any case, and only a guest of which one vCPU runs at a time tells.
"""

from typing import Final

import polars as pl

from results.compare.without_effect import CELLS_MAX
from results.prices.cost_model import CostModel
from results.prices.pricing import by_paging
from results.store.labels import LabelledRun
from results.wording import counted

SHARE_MIN: Final = 0.005
"""Share of the time from which on something is said: what is less is less than the smallest difference that counts."""
_ALONE_MAX: Final = 1.05
"""Up to so many vCPUs at once on average one runs alone: now and then two overlap while the guest switches."""
_PLACE: Final = ("workload", "guest", "vcpus")
PAGE: Final = "docs/explanation/limits.md"


def idle_vcpu_shares(run: LabelledRun, model: CostModel, summary: pl.DataFrame) -> pl.DataFrame:
    """Return workload, guest, vcpus, policy, `running` and `share` where idle vCPUs take some of the elapsed time.

    `running` is how many vCPUs run at once on average, `share` the part of the time of `summary` that goes to
    interrupts of others. Largest shares come first; places where the host dies have none.
    """
    cells = run.scan("cells")
    count = cells.select(pl.len()).collect(engine="streaming").item()
    if not 0 < count <= CELLS_MAX:
        return pl.DataFrame(schema={**dict.fromkeys(_PLACE, pl.String), "policy": pl.String, "share": pl.Float64})
    running = (pl.col("guest_run_ns") / (pl.col("native_seconds") * 1e9)).clip(0.0, pl.col("vcpus"))
    awake = (running - 1.0).clip(lower_bound=0.0) * pl.col("remote_tlb_flush")
    each = by_paging(lambda paging: model.cycles(paging, "flush_ipis"))
    idle = (pl.col("flush_ipis") - awake).clip(lower_bound=0.0)
    # As results.prices.pricing does it: what all vCPUs do takes the elapsed time of those that run at once.
    seconds = idle * each / model.cpu_ghz.value / 1e9 / running.clip(lower_bound=1.0)
    means = cells.group_by(*_PLACE, "policy").agg(running=running.mean(), seconds=seconds.mean())
    everyone = _interrupts_everyone(cells)
    likely = pl.col("running") <= _ALONE_MAX if everyone is None else pl.lit(everyone)
    found = (
        means.filter(likely)
        .collect(engine="streaming")
        .join(summary.select("workload", "guest", "policy", "elapsed_s"), on=["workload", "guest", "policy"])
    )
    return (
        found.select(*_PLACE, "policy", "running", share=pl.col("seconds") / pl.col("elapsed_s"))
        .filter(pl.col("share") >= SHARE_MIN)
        .sort("share", *_PLACE, "policy", descending=[True, False, False, False, False])
    )


def _interrupts_everyone(cells: pl.LazyFrame) -> bool | None:
    """Return whether each remote flush of a run interrupts all other vCPUs; None if no guest of it can tell."""
    telling = cells.filter(pl.col("vcpus") > 2, pl.col("remote_tlb_flush") > 0)
    is_so = pl.col("flush_ipis") == pl.col("remote_tlb_flush") * (pl.col("vcpus") - 1)
    count, everyone = telling.select(pl.len(), is_so.all().alias("all")).collect(engine="streaming").row(0)
    return bool(everyone) if count else None


def idle_vcpu_notes(run: LabelledRun, model: CostModel, summary: pl.DataFrame) -> list[str]:
    """Return a sentence per workload that leaves vCPUs idle, for the guest and policy of which that takes most."""
    notes = []
    shares = idle_vcpu_shares(run, model, summary)
    for (workload,), rows in shares.group_by("workload", maintain_order=True):
        most = rows.row(0, named=True)
        others = rows["guest"].n_unique() - 1
        also = f" (less on {counted(others, 'more guest')})" if others else ""
        notes.append(
            f"{workload} on {most['guest']} runs {most['running']:.1f} of {most['vcpus']} vCPUs at once; the model "
            f"interrupts idle ones as well, which is about {100 * most['share']:.1f} % of the time of "
            f"{most['policy']}{also}; see {PAGE}"
        )
    return notes
