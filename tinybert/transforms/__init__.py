"""Functions of functions, as in JAX: gradients, vectorization, and modules as pure functions."""

from tinybert.transforms.derivatives import grad, value_and_grad
from tinybert.transforms.functional_call import functional_call, with_parameters
from tinybert.transforms.jit import jit
from tinybert.transforms.trees import tree_leaves, tree_map
from tinybert.transforms.vmap import vmap

__all__ = [
    "functional_call",
    "grad",
    "jit",
    "tree_leaves",
    "tree_map",
    "value_and_grad",
    "vmap",
    "with_parameters",
]
