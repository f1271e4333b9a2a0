"""Run the command line with `python -m flashmd.cli`."""

from flashmd.cli.main import main

main()
