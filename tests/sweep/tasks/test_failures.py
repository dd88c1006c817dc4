"""Names of causes, and what must not be kept of a failure."""

import io
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from sweep.tasks.failures import cause_of, innermost_frames, last_lines, without_secrets


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("no room for 12 lanes", "no room for 7 lanes"),
        ("can't read /home/a/runs/x.parquet", "can't read /mnt/b/y.parquet"),
        ("object at 0x7f0012aabb", "object at 0x55aa"),
    ],
)
def test_numbers_and_places_do_not_tell_causes_apart(first: str, second: str) -> None:
    """Failures that differ in numbers, paths or addresses have one cause; other words, kinds or places are others."""
    cause = cause_of("ValueError", first, ["engine/simulate.py:run_batch"])

    assert cause == cause_of("ValueError", second, ["engine/simulate.py:run_batch"])
    assert cause != cause_of("ValueError", f"{second} again", ["engine/simulate.py:run_batch"])
    assert cause != cause_of("LookupError", second, ["engine/simulate.py:run_batch"])
    assert cause != cause_of("ValueError", second, ["engine/simulate.py:warm"])


def test_frames_are_ours_and_have_no_lines() -> None:
    """A cause is told by the functions of this project in which it arose, so that editing a file does not rename it."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("nothing")

    assert innermost_frames(caught.value) == [
        "tests/sweep/tasks/test_failures.py:test_frames_are_ours_and_have_no_lines",
    ]


def test_secrets_do_not_reach_a_run() -> None:
    """Values of variables that hold secrets and users in addresses are taken out; other values stay."""
    environment = {"AWS_SECRET_ACCESS_KEY": "abcdefgh12345", "HF_TOKEN": "tok-0123456789", "HOME": "/home/somebody"}

    text = without_secrets("abcdefgh12345 at s3://user:tok-0123456789@bucket from /home/somebody", environment)

    assert text == "<AWS_SECRET_ACCESS_KEY> at s3://bucket from /home/somebody"


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASS", "PGPASS", "GH_PAT", "OPENAI_APIKEY", "AZURE_STORAGE_CONNECTION_STRING", "HTTP_AUTH", "MYSQL_PWD",
        "AWS_ACCESS_KEY_ID", "api_keys", "SENTRY_DSN", "SESSION_COOKIE",
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_names(name: str) -> None:
    """Values of variables with the names that secrets usually have are taken out; those of others stay."""
    environment = {name: "value-of-it", "PWD": "/home/somebody", "MONITOR": "hdmi-connected"}

    assert without_secrets("value-of-it /home/somebody hdmi-connected", environment) == (
        f"<{name}> /home/somebody hdmi-connected"
    )


@pytest.mark.parametrize(
    "write",
    [
        quote, quote_plus, lambda text: quote(text, safe="").lower(), lambda text: json.dumps({"key": text}),
        lambda text: json.dumps(text, ensure_ascii=False), repr, shlex.quote,
    ],
)  # fmt: skip
def test_secrets_are_taken_out_however_they_are_written(write: Callable[[str], str]) -> None:
    """A value in an address, in JSON, in Python or in a shell is taken out as it is written there."""
    value = 'pass/wörd+"it\'s" \\ é'

    text = without_secrets(f"before {write(value.lower())} after", {"A_TOKEN": value.lower()})

    assert text.replace("'", "").replace('"', "") in {"before <A_TOKEN> after", "before {key: <A_TOKEN>} after"}


def test_the_longest_secret_goes_first() -> None:
    """Of a secret that begins with another one nothing stays."""
    environment = {"A_TOKEN": "abcdefgh", "B_SECRET": "abcdefghREST-OF-B"}

    assert without_secrets("abcdefghREST-OF-B abcdefgh", environment) == "<B_SECRET> <A_TOKEN>"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:p/w@host/x", "https://host/x"),
        ("https://u:p@w@host/x", "https://host/x"),
        ("grpc+tls://user@host", "grpc+tls://host"),
        ("http://host:8265/runs", "http://host:8265/runs"),
        ("s3://b/k?X-Amz-Signature=ab12&X-Amz-Date=7", "s3://b/k?X-Amz-Signature=<removed>&X-Amz-Date=7"),
        ("https://a/b?sv=1&sig=x%2Fy, and more", "https://a/b?sv=1&sig=<removed>, and more"),
    ],
)
def test_addresses_keep_their_places_only(address: str, shown: str) -> None:
    """Users, passwords with any signs, and signatures are taken out of addresses; host, path and the rest stay."""
    assert without_secrets(f"at {address}", {}) == f"at {shown}"


@pytest.mark.parametrize("cut", range(1, 17))
def test_the_end_of_a_secret_on_the_cut_goes_too(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a secret that crosses the place where a stderr is cut no character is kept."""
    monkeypatch.setenv("A_TOKEN", "SECRETSECRETSECRET")
    stream = io.BytesIO(b"x" * 9_000 + b"SECRETSECRETSECRET" + b"y" * (4096 - cut))

    assert set(last_lines(stream)) <= set("xy<A_TOKEN>")
    assert "SECRET" not in last_lines(stream)
