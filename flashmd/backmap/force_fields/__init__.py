"""Force fields of OpenMM: energies and gradients of all-atom structures."""

from flashmd.backmap.force_fields.energy_workers import EnergyBatch, EnergyWorkers

__all__ = ["EnergyBatch", "EnergyWorkers"]
