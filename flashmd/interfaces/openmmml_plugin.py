"""`MLPotential("flashmd", modelPath=...)` of OpenMM-ML.

OpenMM-ML imports this module, through an entry point, whenever it is imported itself. So nothing is imported here but
OpenMM-ML, and all else where a potential is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

if TYPE_CHECKING:
    import openmm


class FlashMDPotentialFactory(MLPotentialImplFactory):  # type: ignore[misc]
    """What OpenMM-ML calls for the name "flashmd"."""

    def createImpl(self, name: str, modelPath: str | None = None, **args: Any) -> FlashMDPotential:  # noqa: N802
        """Return the potential of a model file.

        Args:
            name: "flashmd".
            modelPath: model file or name of a shipped model.
            **args: options of :func:`flashmd.interfaces.openmm.create_force` for all systems of this potential.

        Raises:
            ValueError: no model was named.
            TypeError: an option is unknown.
        """
        if modelPath is None:
            from flashmd.errors import message

            fix = f"write `MLPotential({name!r}, modelPath='model.safetensors')`"
            raise ValueError(message("`modelPath`", "a model file or the name of a shipped model", "None", fix))
        from flashmd.interfaces.openmm.embedding import check_options

        check_options(args)
        return FlashMDPotential(modelPath, args)


class FlashMDPotential(MLPotentialImpl):  # type: ignore[misc]
    """A flashmd model, for a whole system or for some of its atoms.

    Args:
        model: file, or name of a shipped model.
        options: of :func:`flashmd.interfaces.openmm.create_force`.
    """

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self._model = model
        self._options = options

    def addForces(  # noqa: N802
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **args: Any,
    ) -> None:
        """Add the force; where it is that of the whole system, also the masses, which beads do not get otherwise.

        Args:
            topology: of the system.
            system: to which the force is added.
            atoms: indices of the atoms that the model acts on, or None for all.
            forceGroup: of the force.
            **args: `device`, `dtype`, `backend` and `periodic` as in :func:`flashmd.interfaces.openmm.create_force`;
                others belong to the embedding.
        """
        from flashmd.interfaces.openmm.embedding import add_to_system

        add_to_system(self._model, topology, system, atoms, forceGroup, {**self._options, **args})

    def getMLLongRange(self) -> bool:  # noqa: N802
        """Return that interactions end at the cutoff."""
        return False
