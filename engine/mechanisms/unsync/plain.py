"""Whether pages may go out of sync, plainly."""

from engine.reference.mechanism import PlainMechanism
from engine.reference.state import ShadowPage


class Plain(PlainMechanism):
    """Lets every page go out of sync, or none; for speculative sptes it is a knob of its own."""

    def may_unsync(self, page: ShadowPage, *, speculative: bool) -> bool:
        """Do as the two knobs say."""
        del page
        return self.knobs.unsync and (self.knobs.prefetch_may_unsync or not speculative)
