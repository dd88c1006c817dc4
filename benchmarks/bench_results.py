"""Measures the store with very many cells: commit, compaction, summary, and DuckDB doing the same as the summary.

    python benchmarks/bench_results.py [CELLS] [FOLDER]

CELLS (default 1,000,000) synthetic cells of one window each: 50 policies on 200 guests and workloads, the rest
replicates. Each step runs in a process of its own, whose seconds, CPU seconds and peak memory are printed beside a
digest of its answer. The run goes to FOLDER (default: a temporary one) and is removed at the end; a million cells take
some 250 MB there.
"""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from engine.policies import POLICIES
from engine.vocabulary import COUNTER_NAMES
from results.columns import COUNTER, IDENTITY, TABLES
from results.labels import LABELS_SCHEMA, write_labels
from results.schema import table_schema
from results.store import RunStore
from sweep.costs import load_cost_model

POLICY_NAMES: Final = tuple([*POLICIES, *(f"kvm-3.3-{n}" for n in range(50))][:50])
WORKLOADS: Final = tuple(f"workload-{n}" for n in range(10))
VCPUS: Final = (1, 2, 4, 8)
GUESTS: Final = tuple(f"{vcpus}cpu-{memory}m" for vcpus in VCPUS for memory in (512, 1024, 2048, 4096, 8192))
WINDOW_NS: Final = 10_000_000
COSTS: Final = "nehalem-2011"
BASELINE: Final = "kvm-3.0"
SEED: Final = 2011
_HEX: Final = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), "S2")


def texts(values: npt.NDArray[np.uint8]) -> pa.Array:
    """Return random bytes, a row per text, as hexadecimal texts."""
    content = _HEX[values].tobytes()
    width = 2 * values.shape[1]
    offsets = np.arange(0, len(content) + 1, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(content))


def batch(workload: str, guest: str, replicates: int, random: np.random.Generator) -> dict[str, pa.Table]:
    """Return the rows of all policies and replicates of one workload and guest."""
    count = replicates * len(POLICY_NAMES)
    policy = np.tile(np.arange(len(POLICY_NAMES)), replicates)
    replicate = np.repeat(np.arange(replicates), len(POLICY_NAMES))
    names = pa.array(POLICY_NAMES)
    digests = texts(random.integers(0, 256, (replicates, 16), dtype=np.uint8))
    vcpus = int(guest.partition("cpu")[0])
    columns: dict[str, Any] = {
        "cell_id": texts(random.integers(0, 256, (count, 16), dtype=np.uint8)),
        "policy": names.take(pa.array(policy)),
        "paging": pa.array(["shadow", "nested"]).take(pa.array((policy == POLICY_NAMES.index("tdp")).astype(np.int8))),
        "trace_digest": digests.take(pa.array(replicate)),
        "replicate": replicate.astype(np.int32),
        "seed": random.integers(0, 2**63, replicates, dtype=np.uint64)[replicate],
    }
    same = {
        "workload": workload,
        "guest": guest,
        "vcpus": vcpus,
        "memory_mib": 1024,
        "clear_instruction": "stosq",
        "write_protect_instruction": "lock_and",
        "page_cache_share": 0.5,
        "window_ns": WINDOW_NS,
        "native_seconds": WINDOW_NS / 1e9,
        "events": 100_000,
    }
    schema = table_schema("cells")
    columns |= {name: pa.repeat(pa.scalar(value, schema.field(name).type), count) for name, value in same.items()}
    # A third of the counters move, as in a real run, where most policies leave most rules alone.
    for index, counter in enumerate(COUNTER_NAMES):
        moving = index % 3 == 0 or counter in {"exits", "pf_fixed", "lock_acquisitions"}
        columns[counter] = random.integers(0, 4000, count) if moving else np.zeros(count, np.int64)
    columns["guest_run_ns"] = random.integers(1, vcpus + 1, count) * WINDOW_NS
    columns["fatal"] = np.zeros(count, np.int64)
    place = {"window": np.zeros(count, np.int32), "start_ns": np.zeros(count, np.int64)}
    place["length_ns"] = np.full(count, WINDOW_NS)
    cells = pa.table({c.name: columns[c.name] for c in (*IDENTITY, *COUNTER)}, schema=schema)
    every = columns | place
    windows = pa.table({c.name: every[c.name] for c in TABLES["windows"]}, schema=table_schema("windows"))
    return {"cells": cells, "windows": windows}


def commit(run: Path, cells: int) -> str:
    """Write the run, a commit per workload and guest, and its labels."""
    spec = {"name": "synthetic", "costs": COSTS, "baseline": BASELINE, "workloads": []}
    spec["policies"] = [{"name": name} for name in POLICY_NAMES]
    store = RunStore(run)
    store.create(spec, {"code_fingerprint": "synthetic"})
    replicates = max(2, cells // (len(POLICY_NAMES) * len(WORKLOADS) * len(GUESTS)))
    random = np.random.default_rng(SEED)
    for workload in WORKLOADS:
        for guest in GUESTS:
            tables = batch(workload, guest, replicates, random)
            store.commit(store.write_part(f"{workload}.{guest}", tables))
    write_labels(store.storage, store.scan_cells().select(LABELS_SCHEMA.names()).collect())
    return facts(store)


def compact(run: Path, _cells: int) -> str:
    """Compact the run."""
    from results.compaction import compact as compact_run

    store = RunStore(run)
    compact_run(store)
    return facts(store)


def facts(store: RunStore) -> str:
    """Return how many cells, files and bytes a run has."""
    parts = [part for entry in store.manifest.live() for part in entry.parts]
    cells = sum(part.rows for part in parts if part.table == "cells")
    return f"{cells:,} cells in {len(parts)} files, {sum(part.bytes for part in parts) / 1e6:,.0f} MB"


def summarize(run: Path, _cells: int) -> str:
    """Summarise as `sweep summarize --csv` does."""
    from sweep.closing import render_summary

    text = render_summary(RunStore(run), form="csv")
    assert text is not None
    return digest(pl.read_csv(text.encode()).select("workload", "guest", "policy", "elapsed_s", "difference_percent"))


def command(run: Path, _cells: int) -> str:
    """Run `sweep summarize`, from the start of the program to its last line."""
    words = [sys.executable, "-m", "sweep.cli", "summarize", str(run), "--csv"]
    shown = subprocess.run(words, check=True, capture_output=True).stdout
    return f"{len(shown):,} bytes of CSV"


def duckdb_query(run: Path) -> str:
    """Return the summary as SQL: the same prices, the same waiting, the same pairs."""
    model = load_cost_model(COSTS)

    def cycles(paging: str, *, locked: bool) -> str:
        each = ((cost.counter, cost.locked_cycles if locked else cost.cycles) for cost in model.costs(paging))
        return " + ".join(["(0.0", *(f"{counter} * {value!r}::double" for counter, value in each if value)]) + ")"

    def rated(*, locked: bool) -> str:
        nested, shadow = (cycles(paging, locked=locked) for paging in ("nested", "shadow"))
        return f"case when paging = 'nested' then {nested} else {shadow} end / {model.cpu_ghz.value!r}"

    queue = [
        "0.0 as q0",
        *(
            f"case when vcpus > {n} then {n} * (1.0 + q{n - 1}) / (ratio + 1.0 + q{n - 1}) else q{n - 1} end as q{n}"
            for n in range(1, max(VCPUS))
        ),
    ]
    scale = f"{model.native_time_scale.value!r}::double"
    return f"""
    with rated as (
      select cell_id, policy, workload, guest, vcpus, memory_mib, replicate, trace_digest, lock_acquisitions as taken,
        length_ns * {scale} as native, guest_run_ns * {scale} as busy,
        {rated(locked=False)} as overhead, {rated(locked=True)} as locked
      from '{run}/windows/*.parquet'),
    shared as (select *, least(greatest(1.0, busy / greatest(native, 1.0)), vcpus) as sharing from rated),
    unqueued as (select *, native + overhead / sharing as alone from shared),
    thinking as (select *, case when locked > 0 then greatest(alone * vcpus - locked, 0.0) / locked else 'inf'::double
      end as ratio from unqueued),
    queued as (select *, {", ".join(queue)} from thinking),
    waited as (select *, case when taken > 0 then locked * q{max(VCPUS) - 1} else 0.0 end as waiting from queued),
    cells as (
      select cell_id, any_value(policy) as policy, any_value(workload) as workload, any_value(guest) as guest,
        any_value(vcpus) as vcpus, any_value(memory_mib) as memory_mib, any_value(replicate) as replicate,
        sum(round(alone + waiting / sharing)::bigint) as elapsed, sum(round(native)::bigint) as native,
        sum(round(waiting)::bigint) as waiting
      from waited group by cell_id),
    counted as (select c.*, n.exits, n.insn_emulation, n.mmu_flooded, n.mmu_shadow_zapped, n.fatal
      from cells c join '{run}/cells/*.parquet' n using (cell_id))
    select c.workload, c.guest, c.vcpus, c.memory_mib, c.policy, count(*) as replicates,
      avg(c.elapsed) / 1e9 as elapsed_s,
      avg(c.native) / 1e9 as native_s, avg(c.waiting) / 1e9 as lock_wait_s,
      avg(100.0 * (c.elapsed / b.elapsed - 1.0)) as difference_percent,
      stddev_samp(100.0 * (c.elapsed / b.elapsed - 1.0)) as deviation,
      avg(c.exits) as exits, avg(c.insn_emulation) as insn_emulation, avg(c.mmu_flooded) as mmu_flooded,
      avg(c.mmu_shadow_zapped) as mmu_shadow_zapped, avg(c.fatal) as fatal
    from counted c left join (select * from cells where policy = '{BASELINE}') b using (workload, guest, replicate)
    group by all"""  # noqa: S608  Names of this script.


def duckdb(run: Path, _cells: int) -> str:
    """Let DuckDB do the same."""
    import duckdb as library

    connection = library.connect()
    connection.execute(f"set threads = {len(os.sched_getaffinity(0))}")
    rows = connection.sql(duckdb_query(run)).pl()
    return digest(rows.select("workload", "guest", "policy", "elapsed_s", "difference_percent"))


def digest(rows: pl.DataFrame) -> str:
    """Return a hash of a summary, to six digits."""
    text = rows.sort("workload", "guest", "policy").with_columns(pl.selectors.float().round_sig_figs(6)).write_csv()
    return f"{rows.height:,} rows, {hashlib.sha256(text.encode()).hexdigest()[:16]}"


STEPS: Final[dict[str, Callable[[Path, int], str]]] = {
    "commit": commit,
    "compact": compact,
    "summarize": summarize,
    "duckdb": duckdb,
    "sweep summarize": command,
}


def step(name: str, run: Path, cells: int) -> None:
    """Take one step in this process and print what it took."""
    start = time.perf_counter()
    found = STEPS[name](run, cells)
    wall = time.perf_counter() - start
    mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (mine, children))
    peak = max(mine.ru_maxrss, children.ru_maxrss) / 1e6
    print(f"{name:16} {wall:8.1f} s  {cpu:8.1f} CPU-s  {peak:6.2f} GB  {found}", flush=True)


def main() -> None:
    """Take all steps, each in a process of its own."""
    if len(sys.argv) == 4:
        step(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
        return
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="bench-results-"))
    run = folder / "synthetic"
    try:
        for name in STEPS:
            subprocess.run([sys.executable, __file__, name, str(run), str(cells)], check=True)
    finally:
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
