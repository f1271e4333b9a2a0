"""Import of models, priors and configurations of the CGSchNet family (mlcg), without running anything in them."""

from flashmd.potential.mlcg_import.loader import ImportedFile as ImportedFile
from flashmd.potential.mlcg_import.loader import load_any as load_any
from flashmd.potential.mlcg_import.loader import load_configurations as load_configurations
from flashmd.potential.mlcg_import.loader import load_model as load_model
from flashmd.potential.mlcg_import.restart import RestartState as RestartState
