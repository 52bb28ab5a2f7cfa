"""BERT as transformers' Flax classes, without JAX; and the names of `jax.numpy` that examples use.

    import tinybert.frontends.flax as jnp
    model = jnp.FlaxBertModel.from_pretrained(folder)
    features = model(jnp.array([[101, 7592, 102]])).last_hidden_state

`random` has PRNGKey, split and fold_in. `tinybert.grad`, `vmap` and `jit` are the transformations.
"""

from tinybert.frontends.flax import keys as random
from tinybert.frontends.flax.bert import *
from tinybert.frontends.flax.numpy_names import *
from tinybert.frontends.flax.outputs import FlaxBertForPreTrainingOutput
