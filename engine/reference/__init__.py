"""The reference model: one policy at a time, plain Python, for reading. `engine.reference.machine` is the way in."""
