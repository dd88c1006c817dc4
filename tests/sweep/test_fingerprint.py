"""Names of causes, and what must not be kept of a failure."""

import pytest

from sweep.fingerprint import fingerprint, innermost_frames, without_secrets


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
    cause = fingerprint("ValueError", first, ["engine/simulate.py:run_batch"])

    assert cause == fingerprint("ValueError", second, ["engine/simulate.py:run_batch"])
    assert cause != fingerprint("ValueError", f"{second} again", ["engine/simulate.py:run_batch"])
    assert cause != fingerprint("LookupError", second, ["engine/simulate.py:run_batch"])
    assert cause != fingerprint("ValueError", second, ["engine/simulate.py:warm"])


def test_frames_are_ours_and_have_no_lines() -> None:
    """A cause is told by the functions of this project in which it arose, so that editing a file does not rename it."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("nothing")

    assert innermost_frames(caught.value) == [
        "tests/sweep/test_fingerprint.py:test_frames_are_ours_and_have_no_lines",
    ]


def test_secrets_do_not_reach_a_run() -> None:
    """Values of variables that hold secrets and users in addresses are taken out; other values stay."""
    environment = {"AWS_SECRET_ACCESS_KEY": "abcdefgh12345", "HF_TOKEN": "tok-0123456789", "HOME": "/home/somebody"}

    text = without_secrets("abcdefgh12345 at s3://user:tok-0123456789@bucket from /home/somebody", environment)

    assert text == "<AWS_SECRET_ACCESS_KEY> at s3://bucket from /home/somebody"
