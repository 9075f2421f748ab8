"""The commands of `supervisor.py`. Each is a module with HELP, add_arguments(parser) and run(context, arguments)."""
