"""Training: data sets, priors by Boltzmann inversion, force matching; energies and forces of many molecules."""

from flashmd.train.config import TrainConfig as TrainConfig
from flashmd.train.config import load_config as load_config
from flashmd.train.dataset import ForceDataset as ForceDataset
from flashmd.train.dataset import Split as Split
from flashmd.train.dataset import load_dataset as load_dataset
from flashmd.train.dataset import save_dataset as save_dataset
from flashmd.train.dataset import split_by_trajectory as split_by_trajectory
from flashmd.train.energy_matching import MoleculeErrors as MoleculeErrors
from flashmd.train.energy_matching import MoleculeTrainer as MoleculeTrainer
from flashmd.train.energy_matching import fit_atomic_energies as fit_atomic_energies
from flashmd.train.energy_matching import molecule_errors as molecule_errors
from flashmd.train.epochs import TrainingSettings as TrainingSettings
from flashmd.train.molecules import MoleculeDataset as MoleculeDataset
from flashmd.train.molecules import load_molecules as load_molecules
from flashmd.train.molecules import save_molecules as save_molecules
from flashmd.train.output import TrainingResult as TrainingResult
from flashmd.train.priors_fit import fit_angles as fit_angles
from flashmd.train.priors_fit import fit_bonds as fit_bonds
from flashmd.train.priors_fit import fit_dihedrals as fit_dihedrals
from flashmd.train.priors_fit import fit_priors as fit_priors
from flashmd.train.priors_fit import fit_repulsion as fit_repulsion
from flashmd.train.run import train as train
from flashmd.train.trainer import Frames as Frames
from flashmd.train.trainer import Trainer as Trainer
