"""The `smolfast` command: a file for each subcommand; `main.py` runs them, `options.py` has what they share."""
