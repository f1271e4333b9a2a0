"""Collective variables, free energies and the quality of replica-exchange runs."""

from flashmd.analysis.compare import Basins as Basins
from flashmd.analysis.compare import Comparison as Comparison
from flashmd.analysis.compare import Difference as Difference
from flashmd.analysis.compare import Ensemble as Ensemble
from flashmd.analysis.compare import Estimate as Estimate
from flashmd.analysis.compare import Summary as Summary
from flashmd.analysis.compare import compare as compare
from flashmd.analysis.compare import summarize as summarize
from flashmd.analysis.exchange import acceptance as acceptance
from flashmd.analysis.exchange import demultiplex as demultiplex
from flashmd.analysis.exchange import holders as holders
from flashmd.analysis.exchange import round_trips as round_trips
from flashmd.analysis.free_energy import Blocks as Blocks
from flashmd.analysis.free_energy import FreeEnergy as FreeEnergy
from flashmd.analysis.free_energy import block_index as block_index
from flashmd.analysis.free_energy import free_energy as free_energy
from flashmd.analysis.native_contacts import NativeContacts as NativeContacts
from flashmd.analysis.native_contacts import fraction_native as fraction_native
from flashmd.analysis.native_contacts import native_contacts as native_contacts
from flashmd.analysis.reweight import effective_samples as effective_samples
from flashmd.analysis.reweight import mbar_weights as mbar_weights
from flashmd.analysis.reweight import reduced_potentials as reduced_potentials
from flashmd.analysis.reweight import temperature_weights as temperature_weights
from flashmd.analysis.reweight import umbrella_weights as umbrella_weights
from flashmd.analysis.rmsd import rmsd as rmsd
from flashmd.analysis.rmsd import superpose as superpose
