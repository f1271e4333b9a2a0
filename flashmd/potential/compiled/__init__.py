"""Potentials compiled for dynamics: tabulated filters, layers in 16 bits, measured accuracy."""

from flashmd.potential.compiled.options import CompileOptions as CompileOptions
from flashmd.potential.compiled.potential import CompiledPotential as CompiledPotential
from flashmd.potential.compiled.report import CompileReport as CompileReport
from flashmd.potential.compiled.report import LayerError as LayerError
