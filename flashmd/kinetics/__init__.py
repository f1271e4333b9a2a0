"""Committors, first-passage times, survival and rates of molecular dynamics, with honest error bars."""

from flashmd.kinetics.dynamics import Langevin as Langevin
from flashmd.kinetics.dynamics import Overdamped as Overdamped
from flashmd.kinetics.estimators import committor as committor
from flashmd.kinetics.estimators import kolmogorov as kolmogorov
from flashmd.kinetics.estimators import mfpt as mfpt
from flashmd.kinetics.estimators import survival as survival
from flashmd.kinetics.forces import SystemForces as SystemForces
from flashmd.kinetics.problems import KineticProblem as KineticProblem
from flashmd.kinetics.problems import MuellerBrownTable as MuellerBrownTable
from flashmd.kinetics.problems import hidden_double_well as hidden_double_well
from flashmd.kinetics.problems import mueller_brown as mueller_brown
from flashmd.kinetics.problems import radial_problem as radial_problem
from flashmd.kinetics.rates import Rates as Rates
from flashmd.kinetics.rates import rate as rate
from flashmd.kinetics.sets import AbsorbingSet as AbsorbingSet
from flashmd.kinetics.sets import ball as ball
from flashmd.kinetics.sets import half_space as half_space
from flashmd.kinetics.settings import PathSettings as PathSettings
from flashmd.kinetics.surrogates import BoundaryNetwork as BoundaryNetwork
from flashmd.kinetics.surrogates import fit_surrogate as fit_surrogate
