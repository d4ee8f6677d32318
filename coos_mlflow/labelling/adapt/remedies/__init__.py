"""Ways to adapt a model to a plate, one file each; see `base.Remedy`."""

from coos_mlflow.labelling.adapt.remedies.base import Remedy, remedies

__all__ = ["Remedy", "remedies"]
