"""The file that MLflow keeps as a model's code (models-from-code)."""

from mlflow.models import set_model

from coos_mlflow.model.pyfunc import CellClassifier

set_model(CellClassifier())
