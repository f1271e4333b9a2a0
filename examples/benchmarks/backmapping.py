r"""Compare backmapping with cgback, PULCHRA and native structures, every measure in one run.

    python examples/benchmarks/backmapping.py --data DATA --validation 8 --samples 4 --csv backmapping.csv

Every validation chain, with structures of the peers that an earlier run has kept:

    python examples/benchmarks/backmapping.py --data DATA --validation all --samples 2 --energy-residues 200 \
        --keep KEEP --only-kept --processes 2

Needs the extra `bench`, which installs the two peers, and OpenMM for energies. Times are processor seconds of one
thread for each structure.
"""

import argparse
import csv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import backmapping_figures as figures
import backmapping_peers as peers
import numpy as np
import torch
from backmapping_cases import Case, load_cases
from backmapping_methods import NATIVE, OURS, RAW, Made, kept, make
from machine import set_up
from torch import Tensor

from flashmd.backmap import open_model
from flashmd.backmap.force_fields import Molecule, assess_energies
from flashmd.backmap.quality import assess, diversity, rotamer_counts, rotamer_divergence
from flashmd.backmap.quality.table import COLUMNS, ENERGY_COLUMNS
from flashmd.errors import message

METHODS = (NATIVE, *OURS, *peers.COMMANDS)
SUMMED = {
    "amber14_above": "Amber14 + GBn2 above native, kcal/mol/res",
    "diversity": "1 is deterministic",
    "seconds": "s",
}
HOTTEST = 500.0
TABLES = {"validation chains and targets": ("validation", "target"), "fast folders": ("fast folder",)}
Row = dict[str, float | str]


def rows_of(case: Case, method: str, made: Made, molecule: Molecule | None, *, dynamics: bool) -> list[Row]:
    """Return a row with every measure for each structure of a method."""
    measures = assess(case.chains, made.positions, case.native)
    if molecule is not None:
        measures |= assess_energies(molecule, made.positions, dynamics=dynamics)
    if len(made.positions) > 1:
        measures["diversity"] = np.full(len(made.positions), diversity(case.chains, made.positions, case.native))
    identity: Row = {"case": case.name, "group": case.group, "residues": case.chains.n_residues, "method": method}
    return [
        {**identity, "sample": index, "seconds": made.seconds[index].item()}
        | {name: float(values[index]) for name, values in measures.items()}
        for index in range(len(made.positions))
    ]


def add_energy_above_native(rows: list[Row]) -> None:
    """Add the difference of energies to the native structure of the same case."""
    natives = {row["case"]: row.get("amber14_gbn2") for row in rows if row["method"] == NATIVE}
    for row in rows:
        native = natives.get(row["case"])
        if native is not None:
            row["amber14_above"] = row["amber14_gbn2"] - native


def summarize(rows: list[Row], methods: list[str]) -> list[str]:
    """Return a table: a line for each measure, medians over cases of the means over samples."""
    lines = [" " * 18 + "".join(method.rjust(18) for method in methods)]
    units = {column.name: column.unit for column in (*COLUMNS, *ENERGY_COLUMNS)} | SUMMED
    for name, unit in units.items():
        if any(name in row for row in rows):
            cells = "".join(_median(rows, method, name).rjust(18) for method in methods)
            lines.append(f"{name.ljust(18)}{cells}  {unit}")
    if any("md_peak" in row for row in rows):
        lines.append("md_passed".ljust(18) + "".join(_passed(rows, method).rjust(18) for method in methods) + "  runs")
    return lines


def _median(rows: list[Row], method: str, name: str) -> str:
    by_case: dict[str, list[float]] = {}
    for row in rows:
        value = row.get(name)
        if row["method"] == method and isinstance(value, float) and not np.isnan(value):
            by_case.setdefault(str(row["case"]), []).append(value)
    return f"{np.median([np.mean(values) for values in by_case.values()]):.4g}" if by_case else "-"


def _passed(rows: list[Row], method: str) -> str:
    peaks = [float(row["md_peak"]) for row in rows if row["method"] == method and "md_peak" in row]
    return f"{sum(peak <= HOTTEST for peak in peaks)}/{len(peaks)}"


def rotamers(cases: list[Case], made: dict[tuple[str, str], Tensor], methods: list[str]) -> str:
    """Return the line of rotamer divergences, structures of all cases together."""
    natives = sum(rotamer_counts(case.chains, case.native) for case in cases)
    cells = []
    for method in methods:
        counts = sum(rotamer_counts(case.chains, made[case.name, method]) for case in cases)
        cells.append(f"{rotamer_divergence(np.asarray(counts), np.asarray(natives)):.4g}".rjust(18))
    return "rotamers".ljust(18) + "".join(cells) + "  Jensen-Shannon divergence, bits"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with backmapping/ and fast_folders/")
    parser.add_argument("--model", default="default", help="backmapping model, by name or file")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD", help="some of the methods")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="some of the cases")
    parser.add_argument(
        "--validation", type=_number, default=8, metavar="N", help="number of validation chains, or all"
    )
    parser.add_argument("--samples", type=int, default=4, help="structures of each method with seeds")
    parser.add_argument("--no-energies", action="store_true", help="leave out everything that needs OpenMM")
    parser.add_argument("--energy-residues", type=int, default=10_000, metavar="N", help="largest case with energies")
    parser.add_argument("--dynamics", action="store_true", help="run 5 ps of each structure")
    parser.add_argument("--keep", type=Path, help="folder where structures of peers are kept")
    parser.add_argument("--only-kept", action="store_true", help="leave out cases that lack structures of a peer there")
    parser.add_argument("--processes", type=int, default=1, help="processes, each with one thread")
    parser.add_argument("--csv", type=Path, help="file for all rows")
    parser.add_argument("--figures", type=Path, help="folder for pictures")
    arguments = parser.parse_args()
    for method in arguments.methods:
        if method not in METHODS:
            parser.error(message("`--methods`", f"some of {', '.join(METHODS)}", repr(method), "correct that name"))
        if method in peers.COMMANDS and not peers.available(method):
            fix = "install it with `pip install flashmd-cg[bench]`"
            parser.error(message(f"the command of `{method}`", "a program beside this Python", "none", fix))
    if arguments.only_kept and not arguments.keep:
        parser.error(message("`--only-kept`", "a folder in `--keep`", "none", "name the folder"))
    return arguments


def _number(word: str) -> int | None:
    return None if word == "all" else int(word)


class Work:
    """The cases and what it takes to measure them; each process has its own.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        self.arguments = arguments
        self.methods = [method for method in METHODS if method in arguments.methods]
        self.cases = {case.name: case for case in load_cases(arguments.data, arguments.validation)}
        self.model = open_model(arguments.model) if set(self.methods) & set(OURS) else None

    def names(self) -> list[str]:
        """Return the cases to measure, in the order of the table."""
        wanted, keep = self.arguments.cases or self.cases, self.arguments.keep
        others = [method for method in self.methods if method in peers.COMMANDS] if self.arguments.only_kept else []
        return [
            name
            for name, case in self.cases.items()
            if name in wanted and all(kept(method, case, 1, keep) for method in others)
        ]

    @torch.no_grad()
    def measure(self, name: str) -> tuple[list[Row], dict[str, np.ndarray]]:
        """Return rows and structures, [n_samples, n_residues, 14, 3] in nm, of every method for one case."""
        case, chosen = self.cases[name], self.arguments
        molecule = self._molecule(case)
        rows: list[Row] = []
        found: dict[str, Made] = {}
        for method in self.methods:
            found[method] = make(
                method, case, chosen.samples, self.model, chosen.keep, only_kept=chosen.only_kept, raw=found.get(RAW)
            )
            rows += rows_of(case, method, found[method], molecule, dynamics=chosen.dynamics)
        add_energy_above_native(rows)
        return rows, {method: made.positions.numpy() for method, made in found.items()}

    def _molecule(self, case: Case) -> Molecule | None:
        """Return what energies need; force fields have no residue between two gaps."""
        joined = case.chains.joined
        single = bool((~joined & ~torch.cat([joined.new_zeros(1), joined[:-1]])).any())
        too_large = case.chains.n_residues > self.arguments.energy_residues
        return None if self.arguments.no_energies or single or too_large else Molecule.of(case.chains)


_work: list[Work] = []


def _start(arguments: argparse.Namespace) -> None:
    _work[:] = [Work(arguments)]


def _measure(name: str) -> tuple[list[Row], dict[str, np.ndarray]]:
    return _work[0].measure(name)


def measured(work: Work) -> Iterator[tuple[Case, list[Row], dict[str, np.ndarray]]]:
    """Yield cases, rows and structures in the order of the table, from as many processes as are asked for."""
    names = work.names()
    if work.arguments.processes == 1:
        yield from ((work.cases[name], *work.measure(name)) for name in names)
        return
    with ProcessPoolExecutor(
        work.arguments.processes, get_context("spawn"), initializer=_start, initargs=(work.arguments,)
    ) as pool:
        # The largest first, so that no process is left alone with it at the end.
        by_size = sorted(names, key=lambda name: -work.cases[name].chains.n_residues)
        waiting = {name: pool.submit(_measure, name) for name in by_size}
        yield from ((work.cases[name], *waiting[name].result()) for name in names)


def main() -> int:
    """Make the structures, measure them, print the tables."""
    arguments = parse()
    print(set_up(1, "cpu"))
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    work = Work(arguments)
    cases: list[Case] = []
    rows: list[Row] = []
    made: dict[tuple[str, str], Tensor] = {}
    for case, own, structures in measured(work):
        cases.append(case)
        rows += own
        made |= {(case.name, method): torch.from_numpy(found) for method, found in structures.items()}
        print(f"{case.name}: {case.chains.n_residues} residues", flush=True)
        if arguments.csv:
            write(arguments.csv, rows)
    for title, groups in TABLES.items():
        chosen = [case for case in cases if case.group in groups]
        if chosen:
            table = summarize([row for row in rows if row["group"] in groups], work.methods)
            print("\n".join([f"{title}: {len(chosen)}", *table, rotamers(chosen, made, work.methods)]))
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        figures.draw(arguments.figures, cases, made, rows)
    return 0


def write(path: Path, rows: list[Row]) -> None:
    """Write all rows; a measure that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
