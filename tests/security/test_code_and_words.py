"""Nothing of ours can run what a file holds, and a specification can't keep the program busy."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.commands import plan
from sweep.exit_codes import ExitCode, SweepError
from sweep.spec.configs import read_costs
from sweep.spec.nodes import BYTES_MAX, DEPTH_MAX, read_nodes, read_source
from sweep.spec.problems import Source, SpecError
from tests.support.mutations import answer, bytes_damaged
from tests.support.project import ROOT
from tests.support.sources import imports, sources, tree

PACKAGES = ("engine", "results", "sweep")
CODE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "imp"}
CODE_CALLS = {"eval", "exec", "compile", "__import__"}
LOADERS = {"np.load", "numpy.load", "pl.read_pickle", "pd.read_pickle"}
"""Calls that read objects unless pickles are switched off by name."""
SMOKE = ROOT / "configs" / "smoke.yaml"
COSTS = ROOT / "configs" / "costs" / "nehalem-2011.yaml"
DAMAGES = 10


def calls(name: str) -> Iterator[tuple[int, str, ast.Call]]:
    """Yield line, last word and node of every call in a source."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            function = node.func
            word = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield node.lineno, word, node


def test_nothing_that_is_read_can_be_code() -> None:
    """No source unpickles, evaluates or imports what it reads; arrays are loaded with pickles switched off."""
    wrong = []
    for name in sources(*PACKAGES):
        wrong += [f"{name}:{line}: {one}" for line, one in imports(name) if one.partition(".")[0] in CODE_MODULES]
        for line, word, call in calls(name):
            is_method = isinstance(call.func, ast.Attribute)
            if word in CODE_CALLS and not is_method:
                wrong.append(f"{name}:{line}: {word}()")
            off = any(
                option.arg == "allow_pickle" and isinstance(option.value, ast.Constant) and option.value.value is False
                for option in call.keywords
            )
            if is_method and ast.unparse(call.func) in LOADERS and not off:
                wrong.append(f"{name}:{line}: {ast.unparse(call.func)}() without allow_pickle=False")

    assert wrong == []


def test_modules_are_imported_by_names_of_ours() -> None:
    """Where a module is imported by a computed name, the name comes from a list in the code, with a fixed part."""
    computed = {
        f"{name}: {ast.unparse(call.args[0])}"
        for name in sources(*PACKAGES)
        for _, word, call in calls(name)
        if word == "import_module" and not isinstance(call.args[0], ast.Constant)
    }

    lists = ("engine.workloads.{", "sweep.commands.{", "{one.__module__}.plain")
    others = {text for text in computed if not any(prefix in text for prefix in lists)}
    assert others <= {text for text in computed if text.startswith("results/__init__.py: ")}


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!python/module:os", "!!map", "!", "!x"]
)
@pytest.mark.parametrize("value", ["['touch ran']", "x"])
def test_tags_do_nothing(tag: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag of YAML, which other programs take for a constructor, is an error of its line, and nothing is run."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(f"name: {tag} {value}\nworkloads: [pingpong]\npolicies: [kvm-3.0]\n", encoding="utf-8")

    code, text = answer(plan.app, "spec.yaml")

    if (tag, value) not in {("!", "x"), ("!!map", "x")}:
        assert (code, "spec.yaml:1:" in text) == (ExitCode.USAGE, True)
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


def bomb(levels: int) -> str:
    """Return YAML that is small and stands for 9**levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(9), "grows without bound"),
        ("a: &a [*a]", "contains itself"),
        ("[" * 50_000, f"more than {DEPTH_MAX} levels"),
        ("a: " + "{b: " * 50_000, f"more than {DEPTH_MAX} levels"),
        ("- " * 20_000, f"more than {DEPTH_MAX} levels"),
        ("a: 1\n" * BYTES_MAX, f"more than {BYTES_MAX}"),
        ("a: " + "9" * 10_000, "not a value"),
    ],
    ids=["bomb", "loop", "flow", "mapping", "block", "size", "number"],
)
def test_bombs_are_refused(text: str, message: str) -> None:
    """A text that would grow without bound, nest without end or never end is refused before it does."""
    source = Source(name="bomb.yaml", text=text)

    try:
        _, problems = read_nodes(source)
        found = " ".join(problem.message for problem in problems)
    except SpecError as error:
        found = str(error)

    assert message in found


def test_files_without_end_are_not_read_to_it() -> None:
    """A device that never ends is refused for its size."""
    source = read_source(Path("/dev/zero"))

    assert len(source.text) == BYTES_MAX + 1
    with pytest.raises(SpecError, match=f"more than {BYTES_MAX}"):
        read_nodes(source)


@pytest.mark.parametrize("original", [SMOKE, COSTS], ids=["sweep", "costs"])
def test_damaged_specifications_are_an_error(original: Path, tmp_path: Path) -> None:
    """A sweep or a price list with other bytes is planned or read, or refused with a message."""
    path = tmp_path / "damaged.yaml"

    for changed in bytes_damaged(original.read_bytes(), np.random.default_rng(7), DAMAGES):
        path.write_bytes(changed)
        if original == SMOKE:
            answer(plan.app, str(path))
            continue
        try:
            read_costs(str(path))
        except SweepError:
            continue


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@#?,\n\t 0.~\x00é"), max_size=60))
@settings(max_examples=150)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in a specification, reading it ends with nodes or with an error of a specification."""
    try:
        read_nodes(Source(name="any.yaml", text=text))
    except SpecError as error:
        message = str(error)
    else:
        return
    assert "any.yaml" in message
