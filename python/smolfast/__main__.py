"""`python -m smolfast` is the `smolfast` command."""

from smolfast.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
