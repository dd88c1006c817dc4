"""What must be said with every answer: what is missing, what is unsound, what is not modelled."""
