"""Ways to find nuclei in a field, one file each; see `base.Segmenter`."""

from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter, segmenter, segmenter_keys

__all__ = ["NucleusSize", "Segmenter", "segmenter", "segmenter_keys"]
