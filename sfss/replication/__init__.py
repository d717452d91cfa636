"""Nodes: files on several machines, each with all of them. See ``node.py`` for the whole."""
