"""Mechanisms: rules that a policy has or has not, a folder each. `contract.py` says what a folder holds.

To add one, write its folder and name its class in the list below. The order of the list is that of their calls.
"""

from dataclasses import dataclass
from typing import Final, cast

from engine.mechanisms.contract import Mechanism
from engine.mechanisms.flooding import Flooding
from engine.mechanisms.misaligned import Misaligned
from engine.mechanisms.retry import Retry
from engine.mechanisms.unsync import Unsync
from engine.mechanisms.xen_oos import XenOos


@dataclass(frozen=True, kw_only=True)
class MechanismKnobs(
    Misaligned,
    Flooding,
    Retry,
    Unsync,
    XenOos,
):
    """The list of mechanisms, and the knobs of all of them."""


MECHANISMS: Final = cast("tuple[type[Mechanism], ...]", MechanismKnobs.__bases__)
"""The classes of the list, in its order."""
