"""Effect sizes between a plate's cells and reference cells, one file each; see `base.Statistic`."""

from coos_mlflow.drift.statistics.base import MAX_CELLS, CellSample, Statistic, statistics

__all__ = ["MAX_CELLS", "CellSample", "Statistic", "statistics"]
