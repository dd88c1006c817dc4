"""Each mode of `sweep submit` takes its own options, writes over nothing of others, and refuses what means nothing."""

import json
from pathlib import Path

import pytest

from sweep.cluster.job_files import WRITTEN_BY
from sweep.exit_codes import ExitCode, SweepError
from tests.support.cluster.files import IN_A_CLAIM, SMOKE, job_of, submit

JOB = ("--dry-run",)
RAYJOB = ("--kuberay", "-", *IN_A_CLAIM)
SBATCH = ("--slurm", "-")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        *((SBATCH, words) for words in (("--claim", "runs"), ("--secret", "keys"), ("--image", "a:1"), ("--ttl", "9"))),
        *(
            (JOB, words)
            for words in (("--claim", "runs"), ("--partition", "long"), ("--workers", "4"), ("--cpus", "8"))
        ),
        *((JOB, words) for words in (("--memory", "16G"), ("--time", "12:00:00"))),
        *((mode, ("--address", "http://head:8265")) for mode in (RAYJOB, SBATCH)),
        *((mode, (word,)) for mode in (RAYJOB, SBATCH) for word in ("--wait", "--again", "--upload-code", "--json")),
        *((mode, ("--driver-cpus", "1")) for mode in (RAYJOB, SBATCH)),
        *((mode, ("--driver-memory", "1G")) for mode in (RAYJOB, SBATCH)),
        *((mode, ("--resource", "gpu=1")) for mode in (RAYJOB, SBATCH)),
        (RAYJOB, ("--partition", "long")),
    ],
)
def test_options_of_another_mode_are_refused(mode: tuple[str, ...], words: tuple[str, ...]) -> None:
    """An option that would not be used is an error that names it and the mode to which it belongs."""
    with pytest.raises(SweepError, match=f"^{words[0]}: goes with --") as refused:
        submit(SMOKE, *mode, *words)

    assert refused.value.exit_code == ExitCode.USAGE


def test_an_address_in_the_environment_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of the environment, which nobody typed, does not keep a file from being written."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")

    assert WRITTEN_BY in submit(SMOKE, *SBATCH)


@pytest.mark.parametrize("memory", ["0G", "512K", "1023M", "2000T"])
@pytest.mark.parametrize("mode", [RAYJOB, SBATCH])
def test_no_machine_of_nothing_is_asked_for(mode: tuple[str, ...], memory: str) -> None:
    """Memory that rounds to 0, which Slurm takes for all of a machine, or that no machine has, is refused."""
    with pytest.raises(SweepError, match="give at least 1024M"):
        submit(SMOKE, *mode, "--memory", memory)


@pytest.mark.parametrize("words", [("--slurm",), (*IN_A_CLAIM, "--kuberay")])
def test_a_dry_run_writes_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    """With --dry-run the file is printed, as it would be written, and not written."""
    path = tmp_path / "file"

    shown = submit(SMOKE, "--dry-run", *words, str(path))
    was_there = path.exists()
    submit(SMOKE, *words, str(path))

    assert (was_there, path.read_text(encoding="utf-8")) == (False, shown)


@pytest.mark.parametrize("words", [("--slurm",), (*IN_A_CLAIM, "--kuberay")])
def test_only_files_of_ours_are_written_over(words: tuple[str, ...], tmp_path: Path) -> None:
    """The specification itself or any other file stays as it is; a file that `sweep submit` has written is renewed."""
    spec, ours = tmp_path / "smoke.yaml", tmp_path / "ours"
    text = Path(SMOKE).read_text(encoding="utf-8")
    spec.write_text(text, encoding="utf-8")

    with pytest.raises(SweepError, match="is there already, and `sweep submit` has not written it"):
        submit(str(spec), *words, str(spec))
    submit(str(spec), *words, str(ours))
    first = ours.read_text(encoding="utf-8")
    submit(str(spec), *words, str(ours), "--cpus", "3")

    assert spec.read_text(encoding="utf-8") == text
    assert ours.read_text(encoding="utf-8") != first


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "0", "", "many"])
def test_amounts_that_are_none_are_refused(amount: str) -> None:
    """A resource of nothing, of less, without end or without a number is refused."""
    with pytest.raises(SweepError, match="no amount"):
        submit(SMOKE, *JOB, "--resource", f"gpu={amount}")


@pytest.mark.parametrize("words", [("--driver-memory", "0G"), ("--driver-cpus", "inf")])
def test_a_driver_of_nothing_is_refused(words: tuple[str, ...]) -> None:
    """Memory of nothing and CPUs without a number are refused."""
    with pytest.raises(SweepError, match=words[0]):
        submit(SMOKE, *JOB, *words)


def test_partitions_may_be_several() -> None:
    """Slurm takes a list of partitions; anything else than names in it is refused."""
    assert "#SBATCH --partition=long,short\n" in submit(SMOKE, *SBATCH, "--partition", "long,short")
    with pytest.raises(SweepError, match="--partition"):
        submit(SMOKE, *SBATCH, "--partition", "long,,short")


@pytest.mark.parametrize(("words", "said"), [((), "what is installed there"), (("--upload-code",), "is uploaded")])
def test_a_dry_run_says_how_the_core_gets_there(words: tuple[str, ...], said: str) -> None:
    """The core is compiled: it goes along with the code, or has to be there already."""
    shown = submit(SMOKE, "--out", "/runs/a", "--dry-run", "--json", *words)

    content = json.loads(shown)
    assert said in content["core"]
    assert any(name.startswith("engine/_core.") for name in content["uploads"]) == bool(words)


def test_a_stopped_job_names_the_way_on() -> None:
    """A driver is told the command that starts its job again: as typed, with address, without what is for one start."""
    words = (
        "-s",
        "guests.vcpus=[1, 2]",
        "--out",
        "/runs/a",
        "--upload-code",
        "--driver-cpus",
        "1",
        "--resource",
        "x=1",
    )

    shown = submit(SMOKE, *words, "--resource", "y=2", "--again", "--dry-run", "--json", "--address", "http://u:p@h:1")
    rayjob = job_of(*IN_A_CLAIM)["spec"]["runtimeEnvYAML"]
    script = submit(SMOKE, "--slurm", "-")

    assert json.loads(shown)["runtime_env"]["env_vars"]["SWEEP_GO_ON"] == (
        f"sweep submit {SMOKE} -s 'guests.vcpus=[1, 2]' --out /runs/a --upload-code --driver-cpus 1.0 "
        "--resource x=1 --resource y=2 --address http://h:1"
    )
    assert 'SWEEP_GO_ON: "kubectl replace --force -f sweep-smoke.yaml"' in rayjob
    assert "SWEEP_GO_ON='sbatch sweep-smoke.sbatch'" in script
