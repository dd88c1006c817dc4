"""What is done to whole runs: compacting, merging, exporting, checking, comparing byte for byte."""
