"""Analytic terms: harmonic, Fourier, repulsive and polynomial, with sparse tables of parameters by type tuple."""

from flashmd.potential.priors.base import Prior as Prior
from flashmd.potential.priors.fourier import FourierDihedrals as FourierDihedrals
from flashmd.potential.priors.harmonic import HarmonicAngles as HarmonicAngles
from flashmd.potential.priors.harmonic import HarmonicAnglesRaw as HarmonicAnglesRaw
from flashmd.potential.priors.harmonic import HarmonicBonds as HarmonicBonds
from flashmd.potential.priors.harmonic import HarmonicImpropers as HarmonicImpropers
from flashmd.potential.priors.harmonic import ShiftedPeriodicHarmonicImpropers as ShiftedPeriodicHarmonicImpropers
from flashmd.potential.priors.polynomial import QuarticAngles as QuarticAngles
from flashmd.potential.priors.polynomial import QuarticAnglesRaw as QuarticAnglesRaw
from flashmd.potential.priors.polynomial import RestrictedQuartic as RestrictedQuartic
from flashmd.potential.priors.repulsion import CutoffExpRepulsion as CutoffExpRepulsion
from flashmd.potential.priors.repulsion import CutoffRepulsion as CutoffRepulsion
from flashmd.potential.priors.repulsion import ExpRepulsion as ExpRepulsion
from flashmd.potential.priors.repulsion import Repulsion as Repulsion
from flashmd.potential.priors.type_table import TypeTable as TypeTable
