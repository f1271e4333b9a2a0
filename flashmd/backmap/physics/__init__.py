"""Physics of heavy atoms: guidance of a flow, relaxation, ends of chains, rings and handedness."""

from flashmd.backmap.physics.guidance import TERMS, Guidance
from flashmd.backmap.physics.relaxation import Relaxation, relax
from flashmd.backmap.physics.rings import RingPenetrations, ring_penetrations
from flashmd.backmap.physics.termini import finish_termini
from flashmd.backmap.physics.topology import disulfides

__all__ = [
    "TERMS",
    "Guidance",
    "Relaxation",
    "RingPenetrations",
    "disulfides",
    "finish_termini",
    "relax",
    "ring_penetrations",
]
