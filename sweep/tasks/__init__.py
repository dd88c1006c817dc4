"""What travels to a worker, what the worker does, and what comes back."""
