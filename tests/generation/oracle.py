"""What the tests of generation share: our decoders and the same models in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.models import mega_oracle, nemotron_oracle, oracle
from tinybert import BertLMHeadModel

CLASSES = (
    "BertLMHeadModel", "MegatronBertForCausalLM", "NemotronForCausalLM", "MegaForCausalLM",
)  # fmt: skip
EVERYTHING = dict.fromkeys(
    (
        "return_dict_in_generate", "output_scores", "output_logits", "output_attentions",
        "output_hidden_states",
    ),
    True,
)  # fmt: skip
WIDTHS = {
    "position_embeddings": 3.0, "embeddings.weight": 1.0, "embed_tokens": 1.0, "lm_head": 1.0,
    "bias": 0.1, "LayerNorm": 0.1, "norm": 0.3,
}  # fmt: skip
SIZES = {"hidden_size": 12, "vocab_size": 29, "eos_token_id": None, "pad_token_id": None}


def draw_wild_weights(model: Any, seed: int, width_of_others: float = 0.3) -> None:
    """Embeddings so large that what follows depends on every token and place: a model with small
    ones says the same token for ever.
    """
    rng = np.random.default_rng(seed)
    ones = ("LayerNorm.weight", "ln.weight", "norm.norm.weight", "scalar")
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if name.endswith(ones) else 0.0
            width = next((w for part, w in WIDTHS.items() if part in name), width_of_others)
            drawn = centre + width * rng.standard_normal(tuple(p.shape))
            p.copy_(torch.from_numpy(drawn.astype(np.float32)))


def twins(seed: int, **options: Any) -> tuple[Any, Any]:
    """Two decoders with the same weights, float64, eval mode."""
    own = oracle.config(**{"is_decoder": True, "tie_word_embeddings": False, **options})
    theirs = transformers.BertLMHeadModel(oracle.twin_config(own))
    draw_wild_weights(theirs, seed)
    ours = BertLMHeadModel(own)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


def causal_twins(name: str, seed: int, **options: Any) -> tuple[Any, Any]:
    """A random decoder of a class and its twin, float64, eval mode; 60 places or more, 29 words."""
    rng = np.random.default_rng([CLASSES.index(name), seed])
    draws = CONFIGS[name](rng)
    draws |= {"num_hidden_layers": int(rng.integers(1, 4)), **SIZES, **options}
    if name.startswith("Nemotron"):
        ours, theirs = nemotron_oracle.twins(name, seed, **draws)
    elif name.startswith("Mega") and not name.startswith("Megatron"):
        ours, theirs = mega_oracle.mega_twins(name, seed, **draws)
    else:
        ours, theirs = oracle.twin_heads(name, seed, is_decoder=True, **draws)
    draw_wild_weights(theirs, seed, 0.3 if "Bert" in name else 0.6)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def bert(rng: np.random.Generator) -> dict[str, Any]:
    """Also of MegatronBERT."""
    return {
        "hidden_act": pick(rng, "gelu", "relu", "gelu_new"),
        "tie_word_embeddings": pick(rng, True, False),
        "max_position_embeddings": 60,
    }


def nemotron(rng: np.random.Generator) -> dict[str, Any]:
    """Groups of heads, and as much of each head that turns."""
    return {
        "num_key_value_heads": pick(rng, 1, 2, 4),
        "attention_bias": pick(rng, True, False),
        "partial_rotary_factor": pick(rng, 0.4, 0.7, 1.0),
        "max_position_embeddings": pick(rng, 17, 60),  # its positions do not end there
    }


def mega(rng: np.random.Generator) -> dict[str, Any]:
    """All that MEGA can be as a decoder, but what is wrong in transformers."""
    chunks = pick(rng, True, False)
    return {
        **mega_oracle.DECODER,
        "attention_activation": pick(rng, "softmax", "softmax", "laplace", "relu2"),
        "relative_positional_bias": pick(rng, "rotary", "simple"),
        "normalization_type": pick(rng, "scalenorm", "layernorm"),
        "normalize_before_mega": pick(rng, True, False),
        "use_chunking": chunks,
        "chunk_size": pick(rng, 3, 5, 64) if chunks else -1,
        "truncation": pick(rng, None, 3),
        "add_lm_hidden_dense_layer": pick(rng, True, False),
        "tie_word_embeddings": pick(rng, True, False),
        "max_positions": 64,
        "use_cache": False,  # of theirs: with it the truncation is forgotten
    }


CONFIGS = dict(zip(CLASSES, (bert, bert, nemotron, mega), strict=True))


def pick(rng: np.random.Generator, *values: Any) -> Any:
    """One of the values."""
    return values[rng.integers(len(values))]


@contextmanager
def everything_in_float64() -> Iterator[None]:
    """Inside, no model of transformers rounds to float32 on the way, and torch has one thread."""
    with pytest.MonkeyPatch.context() as patch, nemotron_oracle.exact():
        mega_oracle.in_float64(patch)
        with nemotron_oracle.one_thread():
            yield


def theirs_generates(model: Any, ids: np.ndarray, **options: Any) -> Any:
    """transformers' generate, arrays as torch tensors."""
    as_torch = {k: oracle.as_torch(v) for k, v in options.items()}
    return model.generate(torch.from_numpy(ids.copy()), **as_torch)


def row_alone(
    inputs: dict[str, np.ndarray], mask: np.ndarray, options: dict[str, Any], row: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return one row of the inputs (B, T, ...) without its masked tokens, and the options of
    `generate` with which it gets as many new tokens as in the batch.
    """
    alone = {name: array[row : row + 1, mask[row] > 0] for name, array in inputs.items()}
    alone["attention_mask"] = np.ones((1, int(mask[row].sum())), int)
    options = dict(options)
    if "max_length" in options:
        options["max_new_tokens"] = options.pop("max_length") - mask.shape[1]
    return alone, options


def same_as_rows_alone(
    found: Any,
    theirs: Any,
    inputs: dict[str, np.ndarray],
    mask: np.ndarray,
    options: Any,
    tie: bool = False,
) -> None:
    """Check that a padded batch gave what transformers gives for each row without padding: tokens,
    scores, and step by step the outputs of the model.

    tie: two beams have the same sum in float32, so their order is chance: check tokens and the
    scores of sequences alone.
    """
    per_row, beams = len(found.sequences) // len(mask), options.get("num_beams", 1)
    sequences, start = found.sequences.numpy(), mask.shape[1]
    longest = 0
    for row in range(len(mask)):
        prompt, own = row_alone(inputs, mask, options, row)
        ids = prompt.pop("input_ids")
        alone = theirs_generates(theirs, ids, **prompt, **own, **EVERYTHING)
        for k in range(per_row):
            new = alone.sequences[k, ids.shape[1] :].tolist()
            if beams > 1:
                origins = alone.beam_indices[k][alone.beam_indices[k] >= 0]
                new = new[: len(origins)]
                of_row = found.beam_indices.numpy()[row * per_row + k]
                assert tie or of_row[: len(new)].tolist() == (origins + row * beams).tolist()
                assert (of_row[len(new) :] == -1).all()
            padding = [options["pad_token_id"]] * (sequences.shape[1] - start - len(new))
            assert sequences[row * per_row + k, start:].tolist() == new + padding
            longest = max(longest, len(new))
        if beams > 1:
            of_row = found.sequences_scores[row * per_row : (row + 1) * per_row]
            same_numbers(of_row, alone.sequences_scores)
        if tie:
            continue
        rows = slice(row * beams, (row + 1) * beams)
        for name in ("scores", "logits"):
            steps = [step[rows] for step in found[name][: len(alone[name])]]
            same_numbers(tuple(steps), alone[name])
        for step, layers in enumerate(alone.hidden_states):
            for mine, other in zip(found.hidden_states[step], layers, strict=True):
                same_numbers(mine[rows, -1], other[:, -1])
        for step, layers in enumerate(alone.attentions):
            seen = np.concatenate([mask[row] > 0, np.ones(step, bool)])
            for mine, other in zip(found.attentions[step], layers, strict=True):
                weights = mine.numpy()[rows, :, -1][:, :, seen]
                np.testing.assert_allclose(weights, other[:, :, -1], rtol=1e-4, atol=1e-4)
    assert sequences.shape[1] == start + longest


def same_outputs(ours: Any, theirs: Any, padded: bool = True) -> None:
    """The same fields; ids and beam indices equal, all numbers to 1e-4, -inf included."""
    assert list(ours) == [name for name in theirs if theirs[name] is not None]
    for name in ("sequences", "beam_indices"):
        if name in ours:
            assert ours[name].tolist() == theirs[name].tolist(), name
    for name in set(ours) - {"sequences", "beam_indices", "past_key_values"}:
        same_numbers(ours[name], theirs[name], padded)


def same_numbers(ours: Any, theirs: Any, padded: bool = True) -> None:
    """Tensors, or tuples (of tuples) of them. Of what has a place for each token, (B, T, D) or
    (B, H, T, Tk), only the last is compared if there is padding before it, which means nothing.
    """
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same_numbers(one, other, padded)
        return
    assert ours.shape == tuple(theirs.shape)
    one, other = ours.numpy(), theirs.numpy()
    if one.ndim > 2 and padded:
        one, other = np.take(one, -1, axis=-2), np.take(other, -1, axis=-2)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
