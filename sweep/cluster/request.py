"""What a batch job runs, whoever starts it: the command, the name, and that the specification can travel alone."""

import hashlib
import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sweep.exit_codes import SweepError
from sweep.plan.cell import canonical
from sweep.spec.problems import SpecError
from sweep.spec.spec import SweepSpec

DRAIN_SECONDS: Final = 120
"""How long before the end of its time a job is asked to stop, so that running batches can be committed."""
_COMMIT_SECONDS: Final = 30
"""What of that the driver keeps for its last commits."""
GO_ON_VARIABLE: Final = "SWEEP_GO_ON"
"""Variable that tells a driver the command that starts its job again: its own would run where nobody can type."""
_NAME_CHARACTERS_MAX: Final = 40
"""With `sweep-` before it: KubeRay takes 47 in the name of a RayJob, since it appends to it."""
_ID_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One sweep to be run elsewhere."""

    spec: SweepSpec
    spec_name: str
    spec_text: str
    overrides: tuple[str, ...]
    run: str
    """Where results go, as every node calls it: an absolute path or a URL."""
    python: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The sweep's name as every system takes it: lower case, digits and hyphens."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.spec.name.lower()).strip("-")
        return f"sweep-{plain[:_NAME_CHARACTERS_MAX].strip('-') or 'run'}"

    @property
    def submission_id(self) -> str:
        """A name that the same sweep, code and run path always get: two submissions of one are one job."""
        content = {
            "fingerprint": self.fingerprint,
            "run": self.run,
            "spec": self.spec.resolved(),
        }
        digest = hashlib.blake2b(canonical(content)).hexdigest()[:_ID_DIGITS]
        return f"{self.name}-{digest}"

    def command(self, spec: str) -> str:
        """Return the command that runs or continues a sweep; `spec` is the place of its file, written for a shell."""
        settings = [word for text in self.overrides for word in ("-s", text)]
        grace = str(DRAIN_SECONDS - _COMMIT_SECONDS)
        program = shlex.join([self.python, "-m", "sweep.cli", "run"])
        return f"{program} {spec} {shlex.join([*settings, '--backend', 'ray', '--out', self.run, '--grace', grace])}"

    def metadata(self) -> dict[str, str]:
        """Return what a job list shows about the sweep; nothing of the environment is in it."""
        return {
            "sweep": self.spec.name,
            "run": self.run,
            "spec": self.spec_name,
        }


def check_portable(path: Path, spec: SweepSpec, load: Callable[[Path], SweepSpec]) -> None:
    """Refuse a specification that needs files which would not travel with it.

    `load` reads a specification with the same overrides as `spec` was read with.

    Raises:
        SweepError: it names a file relative to itself, or a recording by a relative path.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-submit-") as folder:
        alone = Path(folder) / path.name
        alone.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        try:
            load(alone)
        except SpecError as error:
            raise SweepError(
                f"{path}: this sweep needs files beside it, and a job gets the specification alone.\n"
                f"{str(error).replace(str(alone), str(path))}\n"
                "  use names from configs/, or absolute paths that every node sees"
            ) from error
    for case in spec.workloads:
        recording = case.parameters.get("path")
        if isinstance(recording, str) and recording and not Path(recording).is_absolute():
            raise SweepError(
                f"{path}: workload '{case.label}': path '{recording}' is relative, and a job runs in another folder\n"
                "  give an absolute path that every node sees"
            )


def as_table(values: dict[str, Any]) -> str:
    """Return names and values in two columns, as `--dry-run` and `status` show them."""
    width = max(len(name) for name in values)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in values.items())
