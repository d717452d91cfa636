"""Containers and objects over any store: what their names are, and of which files they are made."""
