"""Training of backmapping models."""

from flashmd.backmap.training.config import BackmapTraining as BackmapTraining
from flashmd.backmap.training.config import load_config as load_config
from flashmd.backmap.training.run import train as train
