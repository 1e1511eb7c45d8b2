"""Supervised tasks: what a distribution of them is, their data, networks, and adaptation on the shared core."""
