"""The verbs of the command line, one module each; `app` is the typer application of the verb."""
