"""Makes the checked-in run of the present schema version: a smoke sweep of three policies, one guest of which fails.

    python -m tests.support.make_fixture

Once per version: a run that is there already was written by the code of its time, and that is what it is for.
"""

import subprocess
import sys
from typing import Final

from results.store.schema import SCHEMA_VERSION
from sweep.exit_codes import ExitCode
from tests.support.project import DATA, ROOT

FIXTURES: Final = DATA / "runs"
OVERRIDES: Final = (
    "policies=[kvm-3.0, kvm-3.3, tdp]",
    "guests.vcpus=[2]",
    # No guest fits into 16 MiB: the run has failures, too.
    "guests.memory_mib=[512, 16]",
)


def main() -> None:
    """Run the sweep into its folder, from the root, so that no path of this machine is in it."""
    out = FIXTURES / f"v{SCHEMA_VERSION}"
    if out.exists():
        sys.exit(
            f"{out}: there is a run of version {SCHEMA_VERSION}; raise SCHEMA_VERSION in results/store/schema.py first"
        )
    settings = [word for override in (*OVERRIDES, f"name=v{SCHEMA_VERSION}") for word in ("-s", override)]
    command = [sys.executable, "-m", "sweep.cli", "run", "configs/smoke.yaml", *settings, "-j", "1"]
    done = subprocess.run([*command, "--out", str(out.relative_to(ROOT))], cwd=ROOT, check=False)
    if done.returncode != ExitCode.CELLS_FAILED:
        sys.exit(f"exit code {done.returncode}; expected {ExitCode.CELLS_FAILED}, for the guest of 16 MiB fails")
    (out / ".lock").unlink()


if __name__ == "__main__":
    main()
