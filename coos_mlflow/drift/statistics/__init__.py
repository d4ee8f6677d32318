"""Effect sizes between the cells of a plate and those of the reference, one file each."""

from coos_mlflow.drift.statistics.base import CellSample, Statistic, statistics

__all__ = ["CellSample", "Statistic", "statistics"]
