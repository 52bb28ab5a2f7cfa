"""Compare a model with its torch counterpart on the same input, layer by layer."""

from tinybert.comparison.layerwise import compare
from tinybert.comparison.report import Comparison, Row, WeightDifference

__all__ = ["Comparison", "Row", "WeightDifference", "compare"]
