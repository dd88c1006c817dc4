"""The backend on a Ray cluster, and what every program that joins one needs."""
