"""Training: data sets of mapped forces, priors by Boltzmann inversion, force matching."""

from flashmd.train.config import TrainConfig as TrainConfig
from flashmd.train.config import load_config as load_config
from flashmd.train.dataset import ForceDataset as ForceDataset
from flashmd.train.dataset import Split as Split
from flashmd.train.dataset import load_dataset as load_dataset
from flashmd.train.dataset import save_dataset as save_dataset
from flashmd.train.dataset import split_by_trajectory as split_by_trajectory
from flashmd.train.priors_fit import fit_angles as fit_angles
from flashmd.train.priors_fit import fit_bonds as fit_bonds
from flashmd.train.priors_fit import fit_dihedrals as fit_dihedrals
from flashmd.train.priors_fit import fit_priors as fit_priors
from flashmd.train.priors_fit import fit_repulsion as fit_repulsion
from flashmd.train.run import TrainingResult as TrainingResult
from flashmd.train.run import train as train
from flashmd.train.trainer import Frames as Frames
from flashmd.train.trainer import Trainer as Trainer
from flashmd.train.trainer import TrainingSettings as TrainingSettings
