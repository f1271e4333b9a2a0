"""Options that all benchmarks share, and their checks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from timing import Rounds

from flashmd.errors import message


def add_sizes(parser: argparse.ArgumentParser, *, beads: Sequence[int], replicas: Sequence[int]) -> None:
    """Add the sizes of the batches."""
    parser.add_argument("--beads", type=int, nargs="+", default=list(beads), help="of one molecule")
    parser.add_argument("--replicas", type=int, nargs="+", default=list(replicas))


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add device, length of the measurement and output."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--turn", type=float, default=1.0, help="length of a turn, s")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--figure", type=Path, help="picture to write, PNG")


def check_common(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Rounds:
    """Refuse sizes that make no sense and return the length of the measurement."""
    check_numbers(parser, arguments)
    return Rounds(arguments.rounds, arguments.turn)


def check_numbers(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse too few beads, replicas or rounds."""
    for option, least in (("beads", 2), ("replicas", 1), ("rounds", 1)):
        given = getattr(arguments, option)
        lowest = given if isinstance(given, int) else min(given)
        if lowest < least:
            parser.error(message(f"`--{option}`", f"at least {least}", f"{lowest}", "ask for more"))


def check_names(parser: argparse.ArgumentParser, option: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that do not exist."""
    for name in given:
        if name not in known:
            parser.error(message(f"`--{option}`", f"some of {', '.join(known)}", repr(name), "choose among these"))
