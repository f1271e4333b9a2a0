"""Operators: compiled kernels and their plain-PyTorch references, chosen by ``backend="kernel" | "reference"``."""

from flashmd.ops.edges import Edges as Edges
from flashmd.ops.edges import edge_geometry as edge_geometry
from flashmd.ops.filter_form import FilterForm as FilterForm
from flashmd.ops.filter_form import FilterWeights as FilterWeights
from flashmd.ops.flash_cfconv import flash_cfconv as flash_cfconv
from flashmd.ops.message_passing import cfconv as cfconv
from flashmd.ops.message_passing import cfconv_transposed as cfconv_transposed
from flashmd.ops.message_passing import edge_product as edge_product
from flashmd.ops.neighbors import half_neighbor_list as half_neighbor_list
from flashmd.ops.neighbors import neighbor_list as neighbor_list
from flashmd.ops.radial_basis import BasisForm as BasisForm
from flashmd.ops.radial_basis import radial_basis as radial_basis
from flashmd.ops.random import philox_normal as philox_normal
from flashmd.ops.random import philox_uniform as philox_uniform
from flashmd.ops.segment import segment_expand as segment_expand
from flashmd.ops.segment import segment_sum as segment_sum
from flashmd.ops.spline_conv import SortedPairs as SortedPairs
from flashmd.ops.spline_conv import sort_pairs as sort_pairs
from flashmd.ops.spline_conv import spline_conv as spline_conv
