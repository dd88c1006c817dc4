"""Clusters that others run: batch jobs on them, manifests that start them, and whether they are fit for a sweep."""
