"""Run the command line with `python -m flashmd.cli`."""

from flashmd.cli.main import main

if __name__ == "__main__":
    main()
