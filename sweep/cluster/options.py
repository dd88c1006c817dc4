"""Options of batch jobs as people type them; what ends up in a manifest or a script is checked here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from sweep.exit_codes import SweepError

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OBJECT_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_MEMORY: Final = re.compile(r"(\d+)([KMGT])i?B?")
_TIME: Final = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_BYTES_MAX: Final = 1 << 50
"""More than any machine has; Slurm and Ray would take a larger number for something else (assumption)."""
NODE_BYTES_MIN: Final = 1 << 30
"""What a Ray node and one worker process need (assumption); 0 would mean all of the machine to Slurm."""
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """What a job that starts a cluster of its own asks for: so many machines of one size, for so long."""

    workers: int
    cpus: int
    memory_mib: int
    seconds: int


def parse_memory(option: str, text: str, *, at_least: int = 1) -> int:
    """Return bytes."""
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise SweepError(f"{option} {text}: no size of memory\n  give a whole number with K, M, G or T, such as 16G")
    count = int(found[1]) * _UNITS[found[2]]
    if not at_least <= count <= _BYTES_MAX:
        least = f"at least {at_least >> 20}M" if at_least > 1 else "more than nothing"
        raise SweepError(f"{option} {text}: no size of a machine\n  give {least} and at most {_BYTES_MAX >> 40}T")
    return count


def parse_time(option: str, text: str, *, more_than: int) -> int:
    """Return seconds."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise SweepError(f"{option} {text}: no length of time\n  give HH:MM:SS or D-HH:MM:SS, such as 12:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total <= more_than:
        raise SweepError(
            f"{option} {text}: too short\n  the last {more_than} s are for committing; give more than that"
        )
    return total


def parse_resources(option: str, texts: Iterable[str]) -> dict[str, float]:
    """Return custom resources of Ray by name."""
    resources = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if not 0 < amount < inf:
            raise SweepError(f"{option} {text}: no amount\n  give NAME=NUMBER, such as driver=1; more than 0")
        resources[check_word(option, name)] = amount
    return resources


def check_word(option: str, text: str) -> str:
    """Return `text` if it is a name: nothing else may enter a script or a manifest."""
    return _checked(option, text, _WORD, "a name has letters, digits, '.', '_' and '-'")


def check_words(option: str, text: str) -> str:
    """Return `text` if it is a name, or several with commas."""
    for word in text.split(","):
        check_word(option, word)
    return text


def check_object_name(option: str, text: str) -> str:
    """Return `text` if Kubernetes takes it as the name of an object."""
    return _checked(
        option, text, _OBJECT_NAME, "a name in Kubernetes has at most 253 lower-case letters, digits, '.' and '-'"
    )


def check_image(option: str, text: str) -> str:
    """Return `text` if it is the name of a container image."""
    return _checked(option, text, _IMAGE, "an image is HOST/NAME:TAG or NAME@sha256:DIGEST")


def check_line(option: str, text: str) -> str:
    """Return `text` if it stays on one line: a line break would end a comment in a script or a manifest."""
    if not text.isprintable():
        raise SweepError(f"{option} {text!r}: has a line break or another sign that does not print\n  leave it out")
    return text


def _checked(option: str, text: str, pattern: re.Pattern[str], allowed: str) -> str:
    if not pattern.fullmatch(text):
        raise SweepError(f"{option} {text!r}: not allowed\n  {allowed}")
    return text
