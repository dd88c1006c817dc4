"""A sweep as its YAML says it: reading, checking, overriding, and the files that it names."""
