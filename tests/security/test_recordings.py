"""A specification from a stranger may name any file as its recording: it is looked at before it is read."""

import os
from pathlib import Path

import numpy as np
import pytest

from engine.operations import OPERATION
from sweep.commands import plan
from sweep.exit_codes import ExitCode
from sweep.recordings.array_file import BYTES_MAX, NOTES_MARK, encode_notes, unsound_reasons_of
from tests.support.mutations import answer, bytes_damaged

SPEC = """
name: strange
workloads: [{{name: recorded, path: {path}}}]
policies: [kvm-3.0, kvm-3.3]
guests: {{vcpus: 1, memory_mib: 256}}
baseline: kvm-3.0
"""


def planned(folder: Path, recording: Path | str) -> tuple[int, str]:
    """Return what `sweep plan` says of a sweep with that recording."""
    spec = folder / "strange.yaml"
    spec.write_text(SPEC.format(path=recording), encoding="utf-8")
    return answer(plan.app, str(spec))


def array(folder: Path, content: "np.typing.NDArray[np.generic]") -> Path:
    """Write an array and return its path."""
    path = folder / "recording.npy"
    np.save(path, content)
    return path


def test_a_recording_is_planned(tmp_path: Path) -> None:
    """An array of operations is taken."""
    assert planned(tmp_path, array(tmp_path, np.zeros(3, OPERATION)))[0] == ExitCode.OK


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/mem", "/proc/kcore", "/dev/zero", "/dev/stdin", "/etc"])
def test_files_of_the_system_are_refused(path: str, tmp_path: Path) -> None:
    """Devices, pipes, folders, and files whose content the kernel makes up are refused without a wait."""
    code, text = planned(tmp_path, path)

    assert (code, "strange.yaml:3:" in text, "path: " in text) == (ExitCode.USAGE, True, True)


@pytest.mark.timeout(60)
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """A pipe into which nobody writes is refused without a wait."""
    os.mkfifo(tmp_path / "pipe.npy")

    assert "no ordinary file" in planned(tmp_path, tmp_path / "pipe.npy")[1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("size", "message"), [(60 << 30, "its header speaks of 376"), (BYTES_MAX + 1, f"at most {BYTES_MAX} are taken")]
)
def test_a_huge_file_of_holes_is_not_read(size: int, message: str, tmp_path: Path) -> None:
    """A file that is made huge by a hole is refused for what its header or its size says."""
    recording = array(tmp_path, np.zeros(3, OPERATION))
    os.truncate(recording, size)

    assert message in planned(tmp_path, recording)[1]


def test_other_files_are_refused_in_our_words(tmp_path: Path) -> None:
    """Text, an empty file and an array of numbers are refused with the way to a recording, not with numpy's advice."""
    (tmp_path / "empty.npy").touch()
    for path in (Path("/etc/passwd"), tmp_path / "empty.npy", array(tmp_path, np.zeros(3))):
        code, text = planned(tmp_path, path)

        assert (code, "sweep trace array" in text, "pickle" in text) == (ExitCode.USAGE, True, False)


def test_damaged_recordings_are_planned_or_refused(tmp_path: Path) -> None:
    """An array with other bytes is planned or refused with a message."""
    recording = array(tmp_path, np.zeros(3, OPERATION))
    header = recording.read_bytes()[:256]
    rest = recording.read_bytes()[256:]

    for changed in bytes_damaged(header, np.random.default_rng(8), 100):
        recording.write_bytes(changed + rest)
        planned(tmp_path, recording)


@pytest.mark.parametrize(
    "tail",
    [b"x", NOTES_MARK, NOTES_MARK + b"[]", NOTES_MARK + b'{"a": 1}', NOTES_MARK + b'["\\u001b[2J"]', b'["a reason"]'],
)
def test_what_stands_behind_the_operations_is_reasons_or_refused(tail: bytes, tmp_path: Path) -> None:
    """Behind the operations of an array stand reasons that can be printed, or it is refused as cut or changed."""
    recording = array(tmp_path, np.zeros(3, OPERATION))
    with recording.open("ab") as stream:
        stream.write(tail)

    code, text = planned(tmp_path, recording)

    assert (code, "it was cut or changed" in text) == (ExitCode.USAGE, True)


def test_an_array_with_reasons_is_planned(tmp_path: Path) -> None:
    """An array of an unsound recording is taken, and its reasons are read."""
    recording = array(tmp_path, np.zeros(3, OPERATION))
    with recording.open("ab") as stream:
        stream.write(encode_notes(["no exits"]))

    assert planned(tmp_path, recording)[0] == ExitCode.OK
    assert unsound_reasons_of(recording) == ("no exits",)
