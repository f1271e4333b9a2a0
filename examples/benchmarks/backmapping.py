"""Compare backmapping with cgback, PULCHRA and native structures, every measure in one run.

    python examples/benchmarks/backmapping.py --data DATA --validation 8 --samples 4 --csv backmapping.csv

Needs the extra `bench`, which installs the two peers, and OpenMM for energies. Times are processor seconds of one
thread for each structure.
"""

import argparse
import csv
from pathlib import Path

import backmapping_figures as figures
import backmapping_peers as peers
import numpy as np
import torch
from backmapping_cases import Case, load_cases
from backmapping_methods import NATIVE, OURS, Made, make
from machine import set_up

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


def rotamers(cases: list[Case], made: dict[tuple[str, str], Made], methods: list[str]) -> str:
    """Return the line of rotamer divergences, structures of all cases together."""
    natives = sum(rotamer_counts(case.chains, case.native) for case in cases)
    cells = []
    for method in methods:
        counts = sum(rotamer_counts(case.chains, made[case.name, method].positions) for case in cases)
        cells.append(f"{rotamer_divergence(np.asarray(counts), np.asarray(natives)):.4g}".rjust(18))
    return "rotamers".ljust(18) + "".join(cells) + "  Jensen-Shannon divergence, bits"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with backmapping/ and fast_folders/")
    parser.add_argument("--model", default="default", help="backmapping model, by name or file")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD", help="some of the methods")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="some of the cases")
    parser.add_argument("--validation", type=int, default=8, help="number of validation chains")
    parser.add_argument("--samples", type=int, default=4, help="structures of each method with seeds")
    parser.add_argument("--no-energies", action="store_true", help="leave out everything that needs OpenMM")
    parser.add_argument("--dynamics", action="store_true", help="run 5 ps of each structure")
    parser.add_argument("--keep", type=Path, help="folder where structures of peers are kept")
    parser.add_argument("--csv", type=Path, help="file for all rows")
    parser.add_argument("--figures", type=Path, help="folder for pictures")
    arguments = parser.parse_args()
    for method in arguments.methods:
        if method not in METHODS:
            parser.error(message("`--methods`", f"some of {', '.join(METHODS)}", repr(method), "correct that name"))
        if method in peers.COMMANDS and not peers.available(method):
            fix = "install it with `pip install flashmd-cg[bench]`"
            parser.error(message(f"the command of `{method}`", "a program beside this Python", "none", fix))
    return arguments


def main() -> int:
    """Make the structures, measure them, print the table."""
    arguments = parse()
    print(set_up(1, "cpu"))
    cases = load_cases(arguments.data, arguments.validation)
    cases = [case for case in cases if not arguments.cases or case.name in arguments.cases]
    methods = [method for method in METHODS if method in arguments.methods]
    model = open_model(arguments.model) if set(methods) & set(OURS) else None
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    made: dict[tuple[str, str], Made] = {}
    for case in cases:
        molecule = None if arguments.no_energies else Molecule.of(case.chains)
        for method in methods:
            made[case.name, method] = make(method, case, arguments.samples, model, arguments.keep)
            found = made[case.name, method]
            rows += rows_of(case, method, found, molecule, dynamics=arguments.dynamics)
        print(f"{case.name}: {case.chains.n_residues} residues", flush=True)
        add_energy_above_native(rows)
        if arguments.csv:
            write(arguments.csv, rows)
    print("\n".join([*summarize(rows, methods), rotamers(cases, made, methods)]))
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        figures.draw(arguments.figures, cases, {key: each.positions for key, each in made.items()}, rows)
    return 0


def write(path: Path, rows: list[Row]) -> None:
    """Write all rows; a measure that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    raise SystemExit(main())
