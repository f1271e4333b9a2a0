"""Molecular dynamics of many replicas in one batch: integrators, replica exchange, the run loop and its files."""

from flashmd.md.config import RunConfig as RunConfig
from flashmd.md.config_file import load_config as load_config
from flashmd.md.config_file import parse_config as parse_config
from flashmd.md.graphed import GraphedStep as GraphedStep
from flashmd.md.integrators import LangevinBAOAB as LangevinBAOAB
from flashmd.md.integrators import VelocityVerlet as VelocityVerlet
from flashmd.md.plan import RunPlan as RunPlan
from flashmd.md.prepare import prepare as prepare
from flashmd.md.replica_exchange import Exchanges as Exchanges
from flashmd.md.replica_exchange import TemperatureLadder as TemperatureLadder
from flashmd.md.simulate import RunSummary as RunSummary
from flashmd.md.simulate import simulate as simulate
from flashmd.md.state import MDState as MDState
from flashmd.md.state import kinetic_energy as kinetic_energy
from flashmd.md.state import kinetic_temperature as kinetic_temperature
