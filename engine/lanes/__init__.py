"""The lane kernel: up to 64 policies over one trace, one bit of a word each. `engine.lanes.machine` is the way in."""
