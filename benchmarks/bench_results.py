"""Measures the store with very many cells: commit, compaction, summary and report, and DuckDB summing up the same.

    python benchmarks/bench_results.py [CELLS] [FOLDER] [--step STEP]

CELLS synthetic cells of one window each: 50 policies on 200 guests and workloads, the rest replicates. Each step runs
in a process of its own, whose seconds, CPU seconds and peak memory are printed beside a digest of its answer. The run
goes to FOLDER/synthetic (default: a temporary folder) and is removed at the end, unless one STEP is asked for. A
million cells take some 250 MB there.

Goals, on two cores and with ten million cells: `sweep summarize` in 5 s and 1.5 GB and not slower than DuckDB, a report
below 10 MB, a compaction whose memory does not grow with the cells; and a plan of a million cells in 3 s.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from engine.guests import Guest
from engine.vocabulary import COUNTER_NAMES
from results.store.columns import COUNTER, IDENTITY, TABLES
from results.store.labels import LABELS_SCHEMA, write_labels
from results.store.run_store import RunStore
from results.store.schema import table_schema
from sweep.commands.common import read_sweep
from sweep.spec.costs import load_cost_model
from sweep.spec.policies import shipped_policies
from sweep.spec.spec import SweepSpec, guest_label
from sweep.start.labels import write_costs

COSTS: Final = "nehalem-2011"
BASELINE: Final = "kvm-3.0"
_SHIPPED: Final = tuple(shipped_policies())
_VARIANTS: Final = [
    {"name": f"kvm-3.3-{n}", "base": "kvm-3.3", "flood_threshold": n} for n in range(4, 54 - len(_SHIPPED))
]
SPEC: Final[dict[str, Any]] = {
    "name": "synthetic",
    "workloads": [{"name": "fork", "label": f"fork-{n}", "pages": 16 * n} for n in range(1, 11)],
    "policies": [*_SHIPPED, *_VARIANTS],
    "guests": {"vcpus": [1, 2, 4, 8], "memory_mib": [512, 1024, 2048, 4096, 8192]},
    "baseline": BASELINE,
    "costs": COSTS,
    "window": "10 ms",
}
PLAN_CELLS: Final = 1_000_000
WINDOW_NS: Final = 10_000_000
SEED: Final = 2011
_HEX: Final = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), "S2")


def texts(values: npt.NDArray[np.uint8]) -> pa.Array:
    """Return random bytes, a row per text, as hexadecimal texts."""
    content = _HEX[values].tobytes()
    offsets = np.arange(0, len(content) + 1, 2 * values.shape[1], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(content))


def sweep_file(folder: Path, cells: int) -> Path:
    """Write the sweep that has at least this many cells."""
    folder.mkdir(parents=True, exist_ok=True)
    once = len(SPEC["policies"]) * len(SPEC["workloads"]) * 20
    path = folder / "synthetic.yaml"
    path.write_text(json.dumps(SPEC | {"replicates": max(2, cells // once)}))
    return path


def batch(spec: SweepSpec, workload: str, guest: Guest, random: np.random.Generator) -> dict[str, pa.Table]:
    """Return the rows of all policies and replicates of one workload and guest."""
    policies = [policy.name for policy in spec.policies]
    count = spec.replicates * len(policies)
    policy = np.tile(np.arange(len(policies)), spec.replicates)
    replicate = np.repeat(np.arange(spec.replicates), len(policies))
    digests = texts(random.integers(0, 256, (spec.replicates, 16), dtype=np.uint8))
    columns: dict[str, Any] = {
        "cell_id": texts(random.integers(0, 256, (count, 16), dtype=np.uint8)),
        "policy": pa.array(policies).take(pa.array(policy)),
        "host_paging": pa.array(["shadow", "nested"]).take(pa.array((policy == policies.index("tdp")).astype(np.int8))),
        "trace_digest": digests.take(pa.array(replicate)),
        "replicate": replicate.astype(np.int32),
        "seed": random.integers(0, 2**63, spec.replicates, dtype=np.uint64)[replicate],
    }
    same = {
        "workload": workload,
        "guest": guest_label(guest),
        **asdict(guest),
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
    columns["guest_run_ns"] = random.integers(1, guest.vcpus + 1, count) * WINDOW_NS
    columns["fatal"] = np.zeros(count, np.int64)
    place = {"window": np.zeros(count, np.int32), "start_ns": np.zeros(count, np.int64)}
    place["length_ns"] = np.full(count, WINDOW_NS)
    cells = pa.table({c.name: columns[c.name] for c in (*IDENTITY, *COUNTER)}, schema=schema)
    every = columns | place
    windows = pa.table({c.name: every[c.name] for c in TABLES["windows"]}, schema=table_schema("windows"))
    return {"cells": cells, "windows": windows}


def commit(run: Path, cells: int) -> str:
    """Write the run, a commit per workload and guest, and its labels."""
    spec = read_sweep(sweep_file(run.parent, cells), ())
    store = RunStore(run)
    store.create(spec.resolved(), {"code_fingerprint": "synthetic"})
    random = np.random.default_rng(SEED)
    for workload in spec.workloads:
        for guest in spec.guests:
            tables = batch(spec, workload.label, guest, random)
            store.commit(store.write_part(f"{workload.label}.{guest_label(guest)}", tables))
    names = (store.scan("cells", [part]).select(LABELS_SCHEMA.names()) for part in store.manifest.parts("cells"))
    write_labels(store.storage, (piece.collect() for piece in names))
    write_costs(store, spec.costs)
    return facts(store)


def compact(run: Path, _cells: int) -> str:
    """Compact the run."""
    from results.upkeep.compaction import compact as compact_run

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
    from sweep.start.last_lines import render_summary

    text = render_summary(RunStore(run), form="csv")
    assert text is not None
    return digest(pl.read_csv(text.encode()).select("workload", "guest", "policy", "elapsed_s", "difference_percent"))


def summarize_command(run: Path, _cells: int) -> str:
    """Run `sweep summarize`, from the start of the program to its last line."""
    shown = sweep("summarize", str(run))
    return f"{len(shown.splitlines()):,} lines, {hashlib.sha256(shown).hexdigest()[:16]}"


def report(run: Path, _cells: int) -> str:
    """Run `sweep report`."""
    page = run.parent / "report.html"
    sweep("report", str(run), "-o", str(page))
    return f"{page.stat().st_size / 1e6:.2f} MB"


def plan(run: Path, _cells: int) -> str:
    """Run `sweep plan` of a million cells, none of which is there."""
    path = sweep_file(run.parent / "planned", PLAN_CELLS)
    shown = sweep("plan", str(path), "--out", str(path.parent / "run"))
    return shown.decode().splitlines()[2].partition(":")[0]


def sweep(*words: str) -> bytes:
    """Return what a command prints, run as a program from a shell: without what polars set up for this process."""
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    program = [sys.executable, "-m", "sweep.cli", *words]
    return subprocess.run(program, check=True, capture_output=True, env=clean).stdout


def duckdb_query(run: Path) -> str:
    """Return the summary as SQL: the same prices, the same waiting, the same pairs."""
    model = load_cost_model(COSTS)

    def cycles(paging: str, *, locked: bool) -> str:
        each = ((cost.counter, cost.locked_cycles if locked else cost.cycles) for cost in model.costs(paging))
        return " + ".join(["(0.0", *(f"{counter} * {value!r}::double" for counter, value in each if value)]) + ")"

    def rated(*, locked: bool) -> str:
        nested, shadow = (cycles(paging, locked=locked) for paging in ("nested", "shadow"))
        return f"case when host_paging = 'nested' then {nested} else {shadow} end / {model.cpu_ghz.value!r}"

    most = max(SPEC["guests"]["vcpus"])
    queue = [
        "0.0 as q0",
        *(
            f"case when vcpus > {n} then {n} * (1.0 + q{n - 1}) / (ratio + 1.0 + q{n - 1}) else q{n - 1} end as q{n}"
            for n in range(1, most)
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
    waited as (select *, case when taken > 0 then locked * q{most - 1} else 0.0 end as waiting from queued),
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
    """Return a hash of a summary, to six digits; means of two numbers often lie half way, and are nudged off there."""
    digits = (pl.selectors.float() * (1 + 1e-12)).round_sig_figs(6)
    text = rows.sort("workload", "guest", "policy").with_columns(digits).write_csv()
    return f"{rows.height:,} rows, {hashlib.sha256(text.encode()).hexdigest()[:16]}"


STEPS: Final[dict[str, Callable[[Path, int], str]]] = {
    "commit": commit,
    "compact": compact,
    "summarize": summarize,
    "duckdb": duckdb,
    "sweep summarize": summarize_command,
    "sweep report": report,
    "sweep plan": plan,
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
    """Take all steps, each in a process of its own, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", metavar="CELLS", type=int, nargs="?", default=1_000_000, help="default: %(default)s")
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="default: a temporary one")
    parser.add_argument("--step", choices=STEPS, help="take this step only, and leave the run as it is then")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="bench-results-"))
    run = folder / "synthetic"
    if chosen.step:
        step(chosen.step, run, chosen.cells)
        return
    try:
        for name in STEPS:
            subprocess.run([sys.executable, __file__, str(chosen.cells), str(folder), "--step", name], check=True)
    finally:
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
