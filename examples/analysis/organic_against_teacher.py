"""Compare the all-atom model with GFN2-xTB, which it was trained on.

    python examples/analysis/organic_against_teacher.py organic-gfn2 data comparison

Writes to the output folder: `comparison.json`, `tables.md` with the errors on the held-out frames, the frequencies of
vibrations, and what velocity Verlet does to the energy of alanine dipeptide; and `comparison.png`. Needs tblite and ASE
(extra `data`).
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.io import read
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from matplotlib import colormaps
from matplotlib.figure import Figure
from tblite.ase import TBLite

from flashmd.interfaces.ase import FlashMDCalculator
from flashmd.potential import checkpoint
from flashmd.train import load_molecules, molecule_errors
from flashmd.units import ELECTRONVOLT

MOLECULES = ("H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCN", "C2H4", "CH3CONH2", "CH3CH2NH2", "HCOOCH3", "ALA")
SMOOTH = 1e-4  # eV/Å, largest force of a structure whose vibrations are taken
LOWEST = 200.0  # 1/cm; below it lie torsions, which no harmonic frequency describes
TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K
RECORD = 10  # steps
COLD = 300.0  # K, lowest temperature of the frames


def calculators(model: str) -> dict[str, Calculator]:
    """Return teacher and student."""
    teacher = TBLite(method="GFN2-xTB", accuracy=0.05, verbosity=0)
    return {"teacher": teacher, "student": FlashMDCalculator(model, dtype=torch.float64)}


def structure(name: str, data: Path) -> Atoms:
    """Return a molecule of the g2 collection, or alanine dipeptide."""
    if name != "ALA":
        return molecule(name)
    return read(data / "structures" / "alanine_dipeptide.pdb")


def error_table(model: str, data: Path) -> dict[str, Any]:
    """Return the errors on the held-out frames of each group, at 300 K and above where it was sampled at both."""
    potential = checkpoint.load(model)
    test = load_molecules(data / "datasets" / "organic_gfn2_test.npz")
    table = {}
    for group in test.group_names:
        frames = test.of_group(group)
        parts = {group: frames}
        if float(frames.temperature.min()) == COLD:
            hot = frames.between(COLD + 1.0, float("inf"))
            parts = {f"{group}, 300 K": frames.between(COLD, COLD), f"{group}, 500 K to 1000 K": hot}
        table.update({name: asdict(molecule_errors(potential, part)) for name, part in parts.items()})
    return table


def frequencies(atoms: Atoms, calculator: Calculator) -> list[float]:
    """Return the harmonic frequencies in 1/cm at the minimum that lies downhill; imaginary ones are negative."""
    atoms = atoms.copy()
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=SMOOTH, steps=2000)
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=folder, delta=0.005)
        vibrations.run()
        values = vibrations.get_frequencies()
    n_external = 3 + int(np.sum(atoms.get_moments_of_inertia() > 1e-2))  # two rotations only for a linear molecule
    signed = np.where(values.imag > 0.0, -values.imag, values.real).tolist()
    return sorted(sorted(signed, key=abs)[n_external:])


def energy_path(start: Atoms, calculator: Calculator, picoseconds: float) -> dict[str, Any]:
    """Return the total energy of velocity Verlet, its drift and its fluctuation around the drift, for one atom."""
    atoms = start.copy()
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, TIME_STEP * units.fs)
    energy: list[float] = []
    dynamics.attach(lambda: energy.append(atoms.get_total_energy() * ELECTRONVOLT / len(atoms)), interval=RECORD)
    dynamics.run(round(1000.0 * picoseconds / TIME_STEP))
    time = np.arange(len(energy)) * RECORD * TIME_STEP / 1000.0
    slope, intercept = np.polyfit(time, energy, 1)
    return {
        "time": time.tolist(),
        "energy": (np.array(energy) - np.mean(energy)).tolist(),
        "drift": float(slope),
        "fluctuation": float(np.std(energy - slope * time - intercept)),
    }


def compare(model: str, data: Path, picoseconds: float) -> dict[str, Any]:
    """Return all results."""
    both = calculators(model)
    vibrations = {}
    for name in MOLECULES:
        atoms = structure(name, data)
        vibrations[name] = {kind: frequencies(atoms, calculator) for kind, calculator in both.items()}
    start = structure("ALA", data)
    width = np.sqrt(units.kB * TEMPERATURE / start.get_masses())[:, None]
    velocities = width * np.random.default_rng(1).normal(size=(len(start), 3))
    start.set_velocities(velocities - np.average(velocities, axis=0, weights=start.get_masses()))
    conservation = {kind: energy_path(start, calculator, picoseconds) for kind, calculator in both.items()}
    return {"errors": error_table(model, data), "vibrations": vibrations, "conservation": conservation}


def stiff(pair: dict[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies of teacher and student above `LOWEST`, in order."""
    teacher, student = (np.array(pair[kind]) for kind in ("teacher", "student"))
    return teacher[teacher > LOWEST], student[teacher > LOWEST]


def tables(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| frames | number | energy MAE | RMSE | force MAE | RMSE | force of the teacher |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, e in results["errors"].items():
        energies = f"{e['energy_mae']:.2f} | {e['energy_rmse']:.2f}"
        forces = f"{e['force_mae']:.0f} | {e['force_rmse']:.0f} | {e['force_scale']:.0f}"
        lines.append(f"| {name} | {e['n_frames']} | {energies} | {forces} |")
    lines += ["", "| molecule | modes | mean error | mean absolute error | largest |", "|---|---|---|---|---|"]
    for name, pair in results["vibrations"].items():
        teacher, student = stiff(pair)
        error = student - teacher
        sizes = f"{error.mean():+.0f} | {np.abs(error).mean():.0f} | {np.abs(error).max():.0f}"
        lines.append(f"| {name} | {len(error)} | {sizes} |")
    lines += ["", "| velocity Verlet | drift | fluctuation |", "|---|---|---|"]
    for kind, path in results["conservation"].items():
        lines.append(f"| {kind} | {1e3 * path['drift']:.2f} | {1e3 * path['fluctuation']:.2f} |")
    return "\n".join(lines) + "\n"


def figure(results: dict[str, Any], path: Path) -> None:
    """Draw frequencies against frequencies and the energies over time."""
    sheet = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = sheet.subplots(1, 2)
    colors = colormaps["turbo"](np.linspace(0.05, 0.95, len(results["vibrations"])))
    for color, (name, pair) in zip(colors, results["vibrations"].items(), strict=True):
        left.plot(*stiff(pair), ".", color=color, label="alanine dipeptide" if name == "ALA" else name)
    left.axline((0.0, 0.0), slope=1.0, color="0.6", linewidth=0.8)
    left.set(xlabel="GFN2-xTB / cm$^{-1}$", ylabel="model / cm$^{-1}$", title="Vibrations")
    left.legend(fontsize="x-small", ncols=2)
    for kind, each in results["conservation"].items():
        right.plot(each["time"], each["energy"], label={"teacher": "GFN2-xTB", "student": "model"}[kind], linewidth=0.8)
    right.set(xlabel="time / ps", ylabel="total energy of an atom / (kJ/mol)", title="Velocity Verlet, 0.5 fs")
    right.legend()
    sheet.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or path of the model")
    parser.add_argument("data", type=Path, help="folder of the package's data")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--picoseconds", type=float, default=2.0, help="length of the dynamics")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = compare(arguments.model, arguments.data, arguments.picoseconds)
    (arguments.output / "comparison.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    (arguments.output / "tables.md").write_text(tables(results), encoding="utf-8")
    figure(results, arguments.output / "comparison.png")
    sys.stdout.write(tables(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
