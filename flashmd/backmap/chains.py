"""What is known of a protein before any coordinate: residue types, their identities and where chains are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.residues import ATOMS, N_SLOTS, ONE_LETTER, RESIDUES, SLOT_CA, slot_mask
from flashmd.errors import message


@dataclass(frozen=True)
class ResidueLabel:
    """How the input names a residue; outputs carry the same.

    Attributes:
        chain: chain identifier, "" where the input has none.
        number: author residue number.
        insertion_code: one letter or "".
        name: residue name of the input, such as "HIE" for a histidine.
    """

    chain: str
    number: int
    insertion_code: str
    name: str

    def __str__(self) -> str:
        return f"{self.chain + ':' if self.chain else ''}{self.name}{self.number}{self.insertion_code}"


@dataclass(frozen=True)
class Chains:
    """The residues of one or more protein chains.

    Coordinates that belong to it are padded, [..., n_residues, 14, 3] in nm, in the slots of `residues.ATOMS`; an empty
    slot holds the position of the residue's CA.

    Attributes:
        types: [n_residues], int64, index into `residues.RESIDUES`.
        joined: [n_residues], bool: the residue has a peptide bond to the next one; False at the end of a chain or gap.
        labels: one for each residue.

    Example:
        >>> chains = Chains.from_sequence("GAW")
        >>> chains.n_residues, chains.n_atoms, chains.joined.tolist()
        (3, 23, [True, True, False])
    """

    types: Tensor
    joined: Tensor
    labels: tuple[ResidueLabel, ...]

    @classmethod
    def from_sequence(cls, sequence: str | Sequence[str]) -> Chains:
        """Make chains A, B, ... from one-letter codes; a list gives one chain for each of its entries."""
        parts = [sequence] if isinstance(sequence, str) else list(sequence)
        letters = "".join(parts)
        if not letters or (unknown := sorted(set(letters) - set(ONE_LETTER))):
            got = f"the letters {', '.join(unknown)}" if letters else "an empty sequence"
            raise ValueError(
                message("`sequence`", f"one-letter codes among {ONE_LETTER}", got, "replace or remove those residues")
            )
        types = torch.tensor([ONE_LETTER.index(letter) for letter in letters])
        joined = torch.ones(len(letters), dtype=torch.bool)
        joined[torch.tensor([len(part) for part in parts]).cumsum(0) - 1] = False
        labels = tuple(
            ResidueLabel(chr(ord("A") + chain % 26), number, "", RESIDUES[ONE_LETTER.index(letter)])
            for chain, part in enumerate(parts)
            for number, letter in enumerate(part, start=1)
        )
        return cls(types, joined, labels)

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return self.types.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of heavy atoms, without any OXT."""
        return int(self.mask.sum())

    @property
    def mask(self) -> Tensor:
        """Return which slots are filled: [n_residues, 14], bool."""
        return slot_mask().to(self.types.device)[self.types]

    @property
    def atom_names(self) -> list[str]:
        """Names of the heavy atoms in flat order."""
        return [name for kind in self.types.tolist() for name in ATOMS[RESIDUES[kind]]]

    def to(self, device: torch.device | str) -> Chains:
        """Return the same chains with their tensors on a device."""
        return Chains(self.types.to(device), self.joined.to(device), self.labels)

    def flatten(self, positions: Tensor) -> Tensor:
        """Return the filled slots of padded coordinates: [..., n_residues, 14, 3] to [..., n_atoms, 3]."""
        return positions[..., self.mask, :]

    def pad(self, positions: Tensor) -> Tensor:
        """Return padded coordinates: [..., n_atoms, 3] to [..., n_residues, 14, 3], CA in the empty slots."""
        padded = positions.new_empty(*positions.shape[:-2], self.n_residues, N_SLOTS, 3)
        padded[..., self.mask, :] = positions
        anchors = padded[..., SLOT_CA, None, :].expand_as(padded)
        return torch.where(self.mask[:, :, None], padded, anchors)
