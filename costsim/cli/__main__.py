"""`python -m costsim.cli`: the same as the `costsim` script."""

from costsim.cli.main import entry

if __name__ == "__main__":
    entry()
