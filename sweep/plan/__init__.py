"""From a specification to batches of cells, and what they will take."""
