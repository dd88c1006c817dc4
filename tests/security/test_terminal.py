"""Text of a stranger's run is shown on a terminal and controls nothing of it."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.commands import status
from sweep.exit_codes import ExitCode
from sweep.terminal import printable
from tests.support.mutations import answer
from tests.support.project import DATA, ROOT

ATTACK = "a\x1b]0;title\x07\x1b[2J\x1b[1Ab\rc\x9b5n\u202ed"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\x1b[1Ab\rc\x9b5n\u202ed"
VERBS = (("status",), ("summarize",), ("compare",), ("explain",), ("fsck",), ("plot", "time"), ("retry",), ("report",))


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a run whose name, host and policies are made to control a terminal."""
    run = tmp_path / "runs" / "run"
    shutil.copytree(DATA / "runs" / "v1", run)
    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    spec["name"] = ATTACK
    spec["workloads"][0]["label"] = ATTACK
    spec["policies"][0]["name"] = ATTACK
    (run / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    records = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    records[-1] |= {"host": ATTACK}
    records[-1].pop("ended", None)
    (run / "provenance.json").write_text(json.dumps(records), encoding="utf-8")
    return run


def on_a_terminal(folder: Path, *words: str) -> str:
    """Return what the program sends to a terminal, as it is sent."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep.cli", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}, stdout=side, stderr=side,
    )  # fmt: skip
    os.close(side)
    sent = b""
    while True:
        try:
            chunk = os.read(main, 1 << 16)
        except OSError:  # Linux' way to say that nobody holds the other end.
            break
        if not chunk:
            break
        sent += chunk
    os.close(main)
    process.wait()
    return sent.decode("utf-8")


def controls(text: str) -> list[str]:
    """Return the signs in a text that control a terminal, but for ends of lines and colours."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", re.sub(r"\x1b\[[0-9;]*m|\r\n", "", text))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("words", VERBS, ids=[words[0] for words in VERBS])
def test_no_verb_lets_a_run_control_the_terminal(words: tuple[str, ...], hostile: Path) -> None:
    """Whatever a verb prints of a run, escape codes in it do not reach the terminal."""
    sent = on_a_terminal(hostile.parent.parent, words[0], "runs/run", *words[1:])

    assert sent.strip()
    assert "Traceback" not in sent
    assert controls(sent) == []


@pytest.mark.timeout(300)
def test_signs_are_shown(hostile: Path) -> None:
    """Status shows the signs of a name and of a host written out, on a terminal; what it lists, too."""
    one = on_a_terminal(hostile.parent.parent, "status", "runs/run")
    records = json.loads((hostile / "provenance.json").read_text(encoding="utf-8"))
    (hostile / "provenance.json").write_text(json.dumps(records) + ATTACK[:-1], encoding="utf-8")
    listed = on_a_terminal(hostile.parent.parent, "status")

    assert f"(sweep {SHOWN})" in one
    assert f" on {SHOWN};" in one
    assert "runs/run  can't be read" in listed
    assert (controls(one), controls(listed)) == ([], [])


@pytest.mark.parametrize("name", ["spec.json", "provenance.json"])
def test_half_of_a_character_is_refused(name: str, hostile: Path) -> None:
    """A file of a run that holds what no text can hold is damage, told without a traceback."""
    text = (hostile / name).read_text(encoding="utf-8")
    (hostile / name).write_text(text.replace("title", "\\ud800"), encoding="utf-8")

    code, told = answer(status.app, str(hostile))

    assert (code, f"{name}: no JSON" in told) == (ExitCode.DAMAGED, True)


@given(st.text(st.characters(exclude_categories=[])))
def test_every_text_can_be_printed(text: str) -> None:
    """Text without control is not changed; any other has none afterwards and can be encoded."""
    shown = printable(text)

    assert controls(shown) == []
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n", "a\tb\n"),
        ("a\r\nb", "a\nb"),
        ("\x1b[36m(raylet)\x1b[0m", "\x1b[36m(raylet)\x1b[0m"),
        ("\x1b[8mhidden", "\\x1b[8mhidden"),
        ("50\r60", "50\\r60"),
    ],
)
def test_lines_and_colours_pass(text: str, shown: str) -> None:
    """Tabs, ends of lines and colours stay as they are; what hides, moves or overwrites does not."""
    assert printable(text) == shown
