"""What `sweep status` says to names that it can't look at."""

from pathlib import Path

import pytest

from sweep.commands import status
from sweep.exit_codes import ExitCode
from tests.support.mutations import answer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go where a run is in ./runs."""
    (tmp_path / "runs" / "smoke").mkdir(parents=True)
    (tmp_path / "runs" / "smoke" / "spec.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    return tmp_path


def test_a_run_is_suggested_by_its_name(run: Path) -> None:
    """The name of a run in ./runs is answered with its folder; any other with what can be given."""
    assert run == Path.cwd()
    assert "did you mean `sweep status runs/smoke`?" in answer(status.app, "smoke")[1]
    assert "for a run its folder" in answer(status.app, "smok")[1]


@pytest.mark.parametrize("words", [(), ("some-job", "--address", "http://127.0.0.1:1")])
def test_only_a_run_is_watched(words: tuple[str, ...], run: Path) -> None:
    """--watch without a run is an error that says what to give, before anybody is asked."""
    assert run == Path.cwd()
    code, text = answer(status.app, *words, "--watch")

    assert (code, "looks at one run" in text) == (ExitCode.USAGE, True)
