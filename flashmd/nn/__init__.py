"""Neural networks: envelopes, radial bases, multilayer perceptrons and SchNet."""

from flashmd.nn.cutoff import CosineCutoff as CosineCutoff
from flashmd.nn.cutoff import IdentityCutoff as IdentityCutoff
from flashmd.nn.egnn import EGNNLayer as EGNNLayer
from flashmd.nn.filter_table import FilterTable as FilterTable
from flashmd.nn.filter_table import tabulate as tabulate
from flashmd.nn.frames import FrameEnergies as FrameEnergies
from flashmd.nn.half_edges import half_edges as half_edges
from flashmd.nn.mlp import MLP as MLP
from flashmd.nn.radial_basis import ExpNormalBasis as ExpNormalBasis
from flashmd.nn.radial_basis import GaussianBasis as GaussianBasis
from flashmd.nn.schnet import SchNet as SchNet
from flashmd.nn.schnet import SchNetConfig as SchNetConfig
