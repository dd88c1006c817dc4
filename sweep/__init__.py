"""The command line and the fan-out: specifications, plans, backends, verbs."""
