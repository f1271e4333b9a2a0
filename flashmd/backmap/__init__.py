"""From beads to all atoms: backmapping by flow matching, with physical terms, relaxation and quality measures."""

from flashmd.backmap.noise import NoiseStreams
from flashmd.backmap.options import BackmapOptions
from flashmd.backmap.run import BackmapResult, backmap
from flashmd.backmap.sampling import BadFrame, Structures, sample_structures
from flashmd.backmap.shipped import open_model
from flashmd.backmap.trace import Trace, TraceFrames, read_trace, trace_from_positions

__all__ = [
    "BackmapOptions",
    "BackmapResult",
    "BadFrame",
    "NoiseStreams",
    "Structures",
    "Trace",
    "TraceFrames",
    "backmap",
    "open_model",
    "read_trace",
    "sample_structures",
    "trace_from_positions",
]
