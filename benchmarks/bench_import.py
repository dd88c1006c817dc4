"""Measures `sweep trace import`: lines per second on one core, peak memory against length, and a digest of the answer.

    python benchmarks/bench_import.py [RECORDING]

Without an argument it repeats the head of the recording that the tests use, with times that go on. Each length is
imported in its own process, whose peak memory is then its own. Goal: 300,000 lines per second.
"""

import argparse
import hashlib
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import zstandard

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

HEAD: Final = ROOT / "tests" / "data" / "perf" / "kernbench-mm-head.perf.txt.zst"
REPEATS: Final = (1, 16, 128)
"""Copies of the 16,000 lines of the head; 128 are 2.0 million lines, twice the whole recording."""
SECONDS_APART: Final = 100
_TIME: Final = re.compile(rb"\]  (29\d\d)\.")


def measure(recording: Path) -> dict[str, Any]:
    """Import one recording in this process, compiled and warm, and return figures and digest."""
    from sweep.recordings.importing import import_perf
    from sweep.recordings.store import read_operations

    output = recording.with_suffix(".operations.parquet")
    import_perf(HEAD, output, strict=True, allow_unsound=True)
    warm_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, busy = time.perf_counter(), time.process_time()
    report = import_perf(recording, output, strict=True, allow_unsound=True)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    operations, comms = read_operations(output)
    digest = hashlib.blake2b(operations.tobytes() + repr(comms).encode(), digest_size=8).hexdigest()
    return {
        "lines": report.lines,
        "operations": report.operations,
        "wall_s": wall,
        "busy_s": busy,
        "warm_kb": warm_kb,
        "peak_kb": peak_kb,
        "output_bytes": output.stat().st_size,
        "digest": digest,
    }


def repeated(folder: Path, repeats: int) -> Path:
    """Write the head a number of times, each copy later than the one before."""
    text = zstandard.ZstdDecompressor().decompress(HEAD.read_bytes())
    path = folder / f"head-{repeats}.perf.txt.zst"
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=1).stream_writer(raw) as stream:
        for i in range(repeats):
            shift = i * SECONDS_APART
            stream.write(_TIME.sub(lambda match, shift=shift: b"]  %d." % (int(match[1]) + shift), text))
    return path


def main(recording: Path | None) -> None:
    """Print one line of figures for a recording, or one for each of ours."""
    print(f"{'lines':>11} {'wall s':>8} {'CPU s':>8} {'lines/CPU-s':>12} {'peak MB':>8} {'MB more':>8}  digest")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if recording is not None:
            given = folder / recording.name
            given.symlink_to(recording.resolve())
            recordings = [given]
        else:
            recordings = [repeated(folder, repeats) for repeats in REPEATS]
        for each in recordings:
            command = [sys.executable, __file__, "--measure", str(each)]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = figures["lines"] / figures["busy_s"]
            more = (figures["peak_kb"] - figures["warm_kb"]) / 1024
            print(
                f"{figures['lines']:>11,} {figures['wall_s']:>8.2f} {figures['busy_s']:>8.2f} {rate:>12,.0f} "
                f"{figures['peak_kb'] / 1024:>8.0f} {more:>8.1f}  {figures['digest']}",
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING", type=Path, nargs="?", help="default: ours, repeated")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.recording)))
    else:
        main(chosen.recording)
