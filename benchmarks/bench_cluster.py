"""Measures what the fan-out costs on a local Ray cluster: batches per second, memory of the driver, and idle workers.

    python benchmarks/bench_cluster.py [--small]

The engine's place is taken by a function that returns at once, or spins for a given CPU time; everything else is
real: plan, tasks, rows, parts, manifest, compaction. Each line is a process of its own. Shares are of the time between
a worker's first batch and its last one, so the start of Ray and of its workers, which a long sweep does not feel, is
left out of the first two; the third has all of it.

* engine: time inside the batches. Goal: at least 97 % with batches of 2 s.
* between: time outside of batches and the making of their rows, which is scheduling, writing and waiting. Goal: below
  2 % with batches of 50 ms, which are grouped.
* engine of all: time inside the batches as a share of workers times the whole time, from before Ray starts to after
  the compaction. No goal: it depends on how long the sweep is.
* driver MB and in all: memory of the driver until the last batch has ended, and with the compaction and the summary
  after it, which load what readers need. Goal: with 10,000 batches not 20 MB more than with 1,000.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.fields import Field  # noqa: E402  The line above finds it.
from engine.simulate import Batch, BatchCounts  # noqa: E402  The line above finds it.
from engine.workloads.contract import Workload  # noqa: E402
from sweep.spec.policies import shipped_policies  # noqa: E402
from tests.support import fakes  # noqa: E402

CASES: Final = ((1_000, 0.0), (10_000, 0.0), (2_000, 0.05), (40, 2.0))
"""Batches, and seconds of CPU time that each takes."""
SMALL: Final = ((100, 0.0), (200, 0.0), (100, 0.05), (4, 2.0))
WORKERS: Final = 2
SPEC: Final = """
name: bench
workloads: [{{name: spin, seconds: {seconds}, log: "{log}"}}]
policies: {policies}
guests: {{vcpus: 1}}
replicates: {batches}
baseline: kvm-3.0
"""
SPIN: Final = Workload(
    name="spin",
    summary="uses CPU time",
    source="this benchmark",
    parameters={
        "seconds": Field(default=0.0, meaning="CPU time", minimum=0.0, maximum=60.0),
        "log": Field(default="", meaning="file that gets pid, start and end of each batch"),
    },
)


def spin(batch: Batch) -> BatchCounts:
    """Use the CPU for the time that the batch says, note when, and count something that depends on the seed."""
    started, busy = time.time(), time.process_time()
    while time.process_time() - busy < batch.parameters["seconds"]:
        hashlib.blake2b(bytes(1024)).digest()
    counts = fakes.simulate(batch)
    ended = time.time()
    with Path(batch.parameters["log"]).open("a", encoding="ascii") as stream:
        stream.write(f"{os.getpid()} {started} {ended}\n")
    return replace(counts, generate_seconds=0.0, guest_seconds=0.0, engine_seconds=ended - started)


def resident_mb() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _line_count(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


@contextlib.contextmanager
def watched_memory(log: Path, batches: int) -> Iterator[dict[str, float]]:
    """Note the largest memory of this process up to the last batch, and in all."""
    seen = {"last": 0.0, "all": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            now = resident_mb()
            seen["all"] = max(seen["all"], now)
            if _line_count(log) < batches:
                seen["last"] = max(seen["last"], now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def measure(batches: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Run one sweep in this process, which is its driver, and return figures and digest."""
    import benchmarks.bench_cluster as here  # Workers find functions by the names of their modules.
    from results.store.run_store import RunStore
    from sweep.backends.choose import BackendChoice, BackendName
    from sweep.spec.read import load_spec
    from sweep.start.execute import Execution, execute

    log = folder / "log"
    path = folder / "bench.yaml"
    path.write_text(
        SPEC.format(seconds=seconds, log=log, batches=batches, policies=json.dumps(list(shipped_policies()))),
        encoding="utf-8",
    )
    execution = Execution(
        spec=load_spec(path, workloads={"spin": SPIN}),
        run=str(folder / "run"),
        backend=BackendChoice(name=BackendName.RAY, reason="benchmark", workers=WORKERS),
        simulate=here.spin,
        fingerprint="a benchmark",
        command="",
    )
    with watched_memory(log, batches) as memory, contextlib.redirect_stdout(sys.stderr):
        code = execute(execution)
    assert code == 0, code
    store = RunStore(folder / "run")
    tally = store.provenance()[-1]["tally"]
    rows = np.loadtxt(log, ndmin=2)
    spans = [rows[rows[:, 0] == pid] for pid in np.unique(rows[:, 0])]
    span = sum(float(one[:, 2].max() - one[:, 1].min()) for one in spans)
    wall = float(rows[:, 2].max() - rows[:, 1].min())
    cells = store.scan("cells").sort("cell_id").collect()
    return {
        "batches": batches,
        "seconds": seconds,
        "tasks": tally["tasks_done"],
        "per_second": batches / wall,
        "engine_percent": 100 * tally["engine_seconds"] / span,
        "between_percent": 100 * (1 - tally["batch_seconds"] / span),
        "engine_of_all_percent": 100 * tally["engine_seconds"] / (WORKERS * tally["wall_seconds"]),
        "last_mb": memory["last"],
        "all_mb": memory["all"],
        "digest": hashlib.blake2b(cells.write_csv().encode()).hexdigest()[:16],
    }


def main(cases: Iterable[tuple[int, float]]) -> None:
    """Print one line of figures per case."""
    names = (
        "batches",
        "CPU s each",
        "tasks",
        "batches/s",
        "engine %",
        "between %",
        "engine of all %",
        "driver MB",
        "in all",
    )
    print(" ".join(f"{name:>15}" for name in names), " digest")
    for batches, seconds in cases:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--measure", str(batches), str(seconds), folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout)
        digest = figures.pop("digest")
        print(" ".join(f"{value:>15,.4g}" for value in figures.values()), "", digest, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", meaning="fewer batches: shows in a minute that it works")
    parser.add_argument(
        "--measure", nargs=3, metavar=("BATCHES", "SECONDS", "FOLDER"), meaning="one case, in this process"
    )
    options = parser.parse_args()
    if options.measure:
        count, each, place = options.measure
        print(json.dumps(measure(int(count), float(each), Path(place))))
    else:
        main(SMALL if options.small else CASES)
