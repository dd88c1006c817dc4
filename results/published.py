"""Published measurements that summaries put beside predictions. Nothing is fitted to them."""

from dataclasses import dataclass
from typing import Final

from results.statistics.moments import Interval, welch_change


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedChange:
    """Run times before and after a change, in seconds, and where they were published."""

    before_seconds: tuple[float, ...]
    after_seconds: tuple[float, ...]
    source: str

    def change_percent(self) -> Interval:
        """Return the change of the mean run time."""
        return welch_change(self.before_seconds, self.after_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRatio:
    """A ratio of two run times with its range, and where the times were published."""

    ratio: float
    low: float
    high: float
    source: str


SEED_KERNBENCH: Final = PublishedChange(
    before_seconds=(180.094, 181.813, 186.239),
    after_seconds=(170.177, 172.774, 171.512),
    source="cover letter of 'KVM: x86: optimize for guest page written', kvm list, July 2011: kernbench, 3 runs each",
)
"""Means 182.72 s and 171.49 s: -6.14 %, or -6.15 % if the means are rounded first."""

SHADOW_OVER_NESTED: Final = PublishedRatio(
    ratio=1.83,
    low=280 / 154,
    high=287 / 154,
    source="kvm list, June 2011: kernbench, EPT about 2m34, ept=0 4m43 to 4m47, after the MMIO series 4m40 to 4m42",
)
"""Range: 4m40 and 4m47 over 2m34."""
