"""Post-training by adjoint matching: structures of lower energy from a trained flow."""

from flashmd.backmap.adjoint.config import PostTraining, load_config
from flashmd.backmap.adjoint.energy import HeavyEnergy, bonded_cysteines
from flashmd.backmap.adjoint.matching import Adjoint, NoisyPath, draw_path, lean_adjoint, matching_loss
from flashmd.backmap.adjoint.post_training import PostTrained, post_train
from flashmd.backmap.adjoint.process import GaussianPrior, MemorylessStep, memoryless_steps
from flashmd.backmap.adjoint.state import PostPoint

__all__ = [
    "Adjoint",
    "GaussianPrior",
    "HeavyEnergy",
    "MemorylessStep",
    "NoisyPath",
    "PostPoint",
    "PostTrained",
    "PostTraining",
    "bonded_cysteines",
    "draw_path",
    "lean_adjoint",
    "load_config",
    "matching_loss",
    "memoryless_steps",
    "post_train",
]
