"""`MLPotential("flashmd", modelPath=...)` of OpenMM-ML.

OpenMM-ML imports this module, through an entry point, whenever it is imported itself, and fails where that fails. So
nothing is imported here before a potential is asked for, not even OpenMM-ML, which may be in the midst of its import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashmd.interfaces.openmm.ml_potential import FlashMDPotential


class FlashMDPotentialFactory:
    """What OpenMM-ML calls for the name "flashmd"."""

    def createImpl(self, name: str, modelPath: str | None = None, **args: Any) -> FlashMDPotential:  # noqa: N802
        """Return the potential of a model file.

        Args:
            name: "flashmd".
            modelPath: model file or name of a shipped model.
            **args: `device`, `dtype`, `backend` and `periodic` for all systems of this potential, see
                :func:`flashmd.interfaces.openmm.create_force`.

        Raises:
            ValueError: no model was named.
            TypeError: an option is unknown.
        """
        from flashmd.errors import message
        from flashmd.interfaces.openmm.ml_potential import FlashMDPotential

        if modelPath is None:
            fix = f"write `MLPotential({name!r}, modelPath='model.safetensors')`"
            raise ValueError(message("`modelPath`", "a model file or the name of a shipped model", "None", fix))
        return FlashMDPotential(modelPath, args)
