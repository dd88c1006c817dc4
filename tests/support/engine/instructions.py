"""Counts the instructions that the core takes for one small trace, by callgrind: the same on any machine, at any load.

    python -m tests.support.engine.instructions            print the counts of the core that is built here
    python -m tests.support.engine.instructions --write    make them what the test compares with

Counts are those of one compiler and one instruction set, so the stored ones are by both.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support.project import DATA, ROOT

STORED: Final = DATA / "instructions.json"
PARTS: Final = {"lanes": "lanes_advance", "guest model": "guest_run"}
"""Part of the core -> the function in C within which instructions are counted."""
SECONDS: Final = 600
PROGRAM: Final = """
from engine.core.extension import core
from engine.core.machine import WORDS
from engine.guests import Guest
from engine.simulate import Batch, run_batch
from sweep.spec.policies import shipped_policies
guest = Guest(vcpus=2, memory_mib=1024)
policies = tuple(shipped_policies().values())
batch = Batch(
    workload="kernbench", parameters={"compile_units": 1}, guest=guest, policies=policies, seed=1, window_ns=10**9
)
print(run_batch(batch).events, WORDS[0].instruction_set, core.COMPILER, sep="\\n")
"""
"""All shipped policies over the build of one file, on two vCPUs."""


def count(part: str) -> tuple[str, float]:
    """Return compiler and instruction set of the core, and the instructions per event of a part of it.

    Raises:
        CalledProcessError: the program fails under valgrind.
    """
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={Path(folder, 'out')}",
                f"--toggle-collect={PARTS[part]}",
                sys.executable,
                "-c",
                PROGRAM,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
    events, instruction_set, compiler = ended.stdout.splitlines()
    collected = re.search(r"Collected : (\d+)", ended.stderr)
    assert collected is not None, ended.stderr
    return f"{compiler}, {instruction_set}", int(collected[1]) / int(events)


def main() -> None:
    """Print the counts, and store them if that is asked for."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}
    for part in PARTS:
        built, counted = count(part)
        print(f"{built}: {part}: {counted:.1f} instructions per event")  # noqa: T201  This is what the command is for.
        stored.setdefault(built, {})[part] = round(counted, 1)
    if "--write" in sys.argv:
        STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
