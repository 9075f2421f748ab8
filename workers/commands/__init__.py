"""Commands of `supervisor.py`: one module each with `run(arguments) -> exit code`."""
