"""Wrap `CellModel` in the interface through which MLflow loads and serves a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from coos_mlflow.errors import DataError
from coos_mlflow.model.bundle import ARTIFACT
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.representations.nn.precision import AUTO
from coos_mlflow.serving.app import take_over
from coos_mlflow.serving.decoding import as_images


class CellClassifier(PythonModel):
    """MLflow's interface to a bundle; its predictions are those of `coos-score`."""

    model: CellModel

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle; if a scoring server is starting, take over its route."""
        self.model = CellModel.load(Path(context.artifacts[ARTIFACT]))
        self.model.prepare(AUTO)
        if take_over(self._table, self.model.dataset):
            # Triggers the compilation on first use, so that no request waits for it.
            self.model.score(self.model.reference.cells.images[:1])

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score the cells of a request.

        MLflow casts a request to the type hint of `model_input`, but not if that is a type of NumPy
        or pandas: then it passes the input unchanged, so a DataFrame may arrive here too.

        Parameters
        ----------
        model_input : ndarray (n, 2, crop, crop), or DataFrame with one column of flat lists
            Raw camera counts.

        Returns
        -------
        DataFrame
            label, class_name, p_0, p_1, ...

        Raises
        ------
        MlflowException
            INVALID_PARAMETER_VALUE, status 400 when served, for cells that `check_images` refuses.
        """
        try:
            return self._table(as_images(model_input, self.model.dataset.crop))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _table(self, images: np.ndarray) -> pd.DataFrame:
        return self.model.score(images).table(self.model.dataset.class_names)
