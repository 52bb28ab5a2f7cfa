"""Compression of models (Minitron): importance, structural pruning, distillation."""

from tinybert.compress.distillation import Distillation, distill
from tinybert.compress.importance import Importance, importance, layers_left_out
from tinybert.compress.pruning import prune

__all__ = ["Distillation", "Importance", "distill", "importance", "layers_left_out", "prune"]
