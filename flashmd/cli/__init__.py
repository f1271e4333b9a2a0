"""The command line: one file for each subcommand, each with a `register` function."""
