"""The command line: one short file for each command; `main` joins them and turns errors into exit codes.

Nothing but the standard library, typer and rich is imported before a command runs, so `--help` is quick.
"""
