"""Commands of `supervisor.py`: one module each with HELP, add_arguments(parser) and run(context, arguments)."""
