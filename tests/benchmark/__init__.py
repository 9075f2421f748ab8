"""Figures of docs/measurements.md: `python -m tests.benchmark.NAME [--json]`, one module each."""
