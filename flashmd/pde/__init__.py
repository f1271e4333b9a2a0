"""Parabolic problems and the correction of surrogates: values with honest error bars at inference."""

from flashmd.pde.adapters import column_surrogate as column_surrogate
from flashmd.pde.adapters import deepxde_surrogate as deepxde_surrogate
from flashmd.pde.adapters import gaussian_process_surrogate as gaussian_process_surrogate
from flashmd.pde.benchmark import BenchmarkPlan as BenchmarkPlan
from flashmd.pde.benchmark import BenchmarkResult as BenchmarkResult
from flashmd.pde.benchmark import run_benchmark as run_benchmark
from flashmd.pde.correction import correct as correct
from flashmd.pde.estimate import Estimate as Estimate
from flashmd.pde.network import SurrogateNetwork as SurrogateNetwork
from flashmd.pde.problem import Parabolic as Parabolic
from flashmd.pde.problems import ReferenceProblem as ReferenceProblem
from flashmd.pde.problems import reference_problem as reference_problem
from flashmd.pde.settings import CorrectionSettings as CorrectionSettings
from flashmd.pde.surrogate import Surrogate as Surrogate
from flashmd.pde.training import SurrogateTraining as SurrogateTraining
from flashmd.pde.training import distill as distill
from flashmd.pde.training import train_surrogate as train_surrogate
