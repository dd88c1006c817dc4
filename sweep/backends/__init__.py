"""Where batches run: processes of this machine, or a Ray cluster. Both take the same tasks and give the same counts."""
