"""The amino acids of a file, under their standard names; what is none is left out or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from flashmd.backmap.chains import ResidueLabel
from flashmd.backmap.names import COMMON_REPLACEMENTS, may_be_left_out, standard_atom, standard_residue
from flashmd.backmap.site_tables import ResidueSites, SiteTable
from flashmd.errors import message

_SHOWN = 8


@dataclass(frozen=True)
class ProteinResidue:
    """An amino acid of a file.

    Attributes:
        site: what the file says.
        name: standard name.
        label: identity in outputs; the standard name where the residue was replaced.
        atoms: index of each atom by standard name.
    """

    site: ResidueSites
    name: str
    label: ResidueLabel
    atoms: dict[str, int]


def protein_residues(
    table: SiteTable, replacements: Mapping[str, str], what: str
) -> tuple[list[ProteinResidue], tuple[str, ...]]:
    """Return the amino acids of a file, and notes on what was left out or replaced.

    Args:
        table: atoms of the file.
        replacements: standard names of modified residues.
        what: how errors call the file.

    Raises:
        ValueError: a residue is unknown or has no CA, or there is no amino acid.
    """
    residues, unknown, bare = [], [], []
    left_out: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    for site in table.residues:
        name = standard_residue(site.label.name, replacements)
        atoms = {standard_atom(atom): index for atom, index in site.atoms.items()}
        if name is None and may_be_left_out(site.label.name, set(site.atoms)):
            left_out[site.label.name] += 1
        elif name is None:
            unknown.append(site.label)
        elif "CA" not in atoms:
            bare.append(site)
        else:
            residues.append(ProteinResidue(site, name, _label(site.label, name, replacements, replaced), atoms))
    _refuse_unknown(unknown, what)
    _refuse_bare(bare, what, all_of_them=not residues)
    if not residues:
        raise ValueError(message(what, "amino acids with CA atoms", "none", "pass a protein structure"))
    return residues, tuple(_notes(left_out, replaced))


def _refuse_bare(bare: list[ResidueSites], what: str, *, all_of_them: bool) -> None:
    if bare and all_of_them:
        names = sorted({name for site in bare for name in site.atoms})
        fix = "pass C-alpha positions; a bead elsewhere, such as at a centre of mass, cannot stand for one"
        raise ValueError(message(what, "a CA atom in each residue", f"atoms named {listed(names)}", fix))
    if bare:
        fix = "add the atoms or delete the residues"
        residues = listed([site.label for site in bare])
        raise ValueError(message(f"{residues} of {what}", "a CA atom in each residue", "none", fix))


def listed(items: list[ResidueLabel] | list[str]) -> str:
    """Return the first items in words, and how many more there are.

    >>> listed(["A:GLY1", "A:GLY2"])
    'A:GLY1, A:GLY2'
    """
    words = ", ".join(str(item) for item in items[:_SHOWN])
    return words if len(items) <= _SHOWN else f"{words} and {len(items) - _SHOWN} more"


def _label(label: ResidueLabel, name: str, table: Mapping[str, str], replaced: Counter[str]) -> ResidueLabel:
    if label.name.upper() not in table:
        return label
    replaced[f"{label.name} as {name}"] += 1
    return ResidueLabel(label.chain, label.number, label.insertion_code, name)


def _refuse_unknown(unknown: list[ResidueLabel], what: str) -> None:
    if not unknown:
        return
    names = sorted({label.name for label in unknown})
    common = [f"{name} as {COMMON_REPLACEMENTS[name.upper()]}" for name in names if name.upper() in COMMON_REPLACEMENTS]
    fix = f"replace them with `--replace {names[0]}=STANDARD` (`replace=('{names[0]}=STANDARD',)`), or delete them"
    if len(common) == len(names):
        fix = f"pass `--replace common` (`replace=('common',)`), which reads {', '.join(common)}, or delete them"
    got = f"the names {', '.join(names)}" if len(names) > 1 else f"the name {names[0]}"
    raise ValueError(message(f"{listed(unknown)} of {what}", "standard amino acids", got, fix))


def _notes(left_out: Counter[str], replaced: Counter[str]) -> list[str]:
    notes = []
    if left_out:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(left_out.items()))
        notes.append(f"left out what is no amino acid: {kinds}")
    if replaced:
        notes.append("read " + ", ".join(f"{count} {name}" for name, count in sorted(replaced.items())))
    return notes
