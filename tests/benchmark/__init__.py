"""Figures of the README: `python -m tests.benchmark.NAME [--json]`, one module each."""
