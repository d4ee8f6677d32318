"""Kinds of classifiers, one file each; see `base.Kind`."""

from coos_mlflow.classifiers.kinds.base import Kind, kind_of, kinds

__all__ = ["Kind", "kind_of", "kinds"]
