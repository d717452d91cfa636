"""Benchmarks. ``.venv/bin/python -m bench --help`` tells what there is."""
