"""`Shape`: the sizes of a transformer that decide its memory and time; and those of the papers.

A shape has the matrices of one of four families: BERT and MegatronBERT with the heads of
pre-training, Nemotron with its language-model head, and "gpt", Megatron's GPT-2 and GPT-3 (learned
positions, pre-LN, tied embeddings), of which this package has no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.checks import check, check_integer

_SIZES = ("layers", "hidden", "heads", "kv_heads", "head_size", "inner", "vocabulary", "positions")


@dataclass(frozen=True)
class Shape:
    """The sizes of a model.

    Attributes:
        family: "bert", "megatron-bert", "nemotron" or "gpt".
        layers, hidden, heads: L, D and H.
        vocabulary: V, the rows of the table of words.
        positions: T, the length of a training sequence; and the rows of the table of positions.
        kv_heads: G, heads of keys and values; `heads` if not given.
        head_size: K; hidden / heads if not given.
        inner: F, neurons of the feed-forward part; 4 hidden if not given.
        dropout: whether training uses dropout, whose masks are kept.
        tied: whether the output uses the table of words; always in BERT and GPT.
        bias: whether linear layers have biases; always in BERT and GPT.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    positions: int
    kv_heads: int = 0
    head_size: int = 0
    inner: int = 0
    dropout: bool = True
    tied: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        derived = {"kv_heads": self.heads, "inner": 4 * self.hidden}
        derived["head_size"] = self.hidden // self.heads if self.heads else 0
        for name, value in derived.items():
            object.__setattr__(self, name, getattr(self, name) or value)
        for name in _SIZES:
            check_integer(name, getattr(self, name), 1)

    @property
    def queries(self) -> int:
        """H K, the features of all queries of a token."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """G K, the features of all keys of a token."""
        return self.kv_heads * self.head_size

    @property
    def matrix(self) -> int:
        """The weights of a layer's matrices, which tensor parallelism splits."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 2 * self.hidden * self.inner

    def layer(self, tensor: int = 1) -> float:
        """Return the parameters of one layer that each of `tensor` ranks has.

        The biases of the column-parallel layers are split; those of the row-parallel layers and
        the two norms are on every rank.
        """
        split = self.matrix + self.bias * (self.queries + 2 * self.keys + self.inner)
        return split / tensor + 2 * self.hidden * self.bias + 4 * self.hidden

    def embeddings(self, tensor: int = 1) -> float:
        """Return the parameters of the embeddings on each of `tensor` ranks: V is split."""
        words = self.vocabulary * self.hidden / tensor
        if self.family == "nemotron":
            return words
        rest = self.positions + {"gpt": 0, "bert": 4, "megatron-bert": 2}[self.family]
        return words + rest * self.hidden  # two types, and in BERT a norm

    def output(self, tensor: int = 1) -> float:
        """Return the parameters after the last layer, without a table shared with the input."""
        hidden, words = self.hidden, self.vocabulary
        norm = 0 if self.family == "bert" else 2 * hidden
        if self.family in ("gpt", "nemotron"):
            return norm + (0 if self.tied else words * hidden / tensor)
        transform = hidden * hidden + 3 * hidden + words / tensor  # dense, norm, bias of the words
        sentences = hidden * hidden + 3 * hidden + 2  # pooler, next sentence
        return norm + transform + sentences

    @property
    def parameters(self) -> int:
        """All parameters of the model."""
        return round(self.layers * self.layer() + self.embeddings() + self.output())


def shape_of(config: Any) -> Shape:
    """Return the shape of a config; ValueError unless it is a BERT, MegatronBERT or Nemotron."""
    family = config.model_type
    known = ("bert", "megatron-bert", "nemotron")
    check("the model's type", family, family in known, f"one of {', '.join(known)}")
    sizes: dict[str, Any] = {
        "family": family,
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "inner": config.intermediate_size,
    }
    if family == "nemotron":
        check("attention_bias", config.attention_bias, config.attention_bias == config.mlp_bias,
              "that of mlp_bias")  # fmt: skip
        sizes |= {
            "kv_heads": config.num_key_value_heads,
            "head_size": config.head_dim,
            "dropout": config.attention_dropout > 0,
            "tied": config.tie_word_embeddings,
            "bias": config.attention_bias,
        }
    return Shape(**sizes)


def _gpt(layers: int, hidden: int, heads: int, positions: int = 2048) -> Shape:
    return Shape("gpt", layers, hidden, heads, 51_200, positions)


def _bert(layers: int, hidden: int, heads: int) -> Shape:
    # BERT's 30,522 words, padded to a multiple of 128 for fast matrix products.
    return Shape("megatron-bert", layers, hidden, heads, 30_592, 512)


def _nemotron(layers: int, hidden: int, heads: int) -> Shape:
    return Shape(
        "nemotron", layers, hidden, heads, 256_000, 4096, kv_heads=8, dropout=False, tied=False,
        bias=False,
    )  # fmt: skip


# Name -> shape, and where the sizes are published.
PRESETS: dict[str, tuple[Shape, str]] = {
    "megatron-336m": (_bert(24, 1024, 16), "BERT, arXiv:1909.08053 table 4"),
    "megatron-1.3b": (_bert(24, 2048, 32), "BERT, arXiv:1909.08053 table 4"),
    "megatron-3.9b": (_bert(48, 2560, 40), "BERT, arXiv:1909.08053 table 4"),
    "megatron-355m": (_gpt(24, 1024, 16, 1024), "GPT-2, arXiv:1909.08053 table 2"),
    "megatron-1.2b": (_gpt(40, 1536, 16, 1024), "GPT-2, arXiv:1909.08053 table 1"),
    "megatron-2.5b": (_gpt(54, 1920, 20, 1024), "GPT-2, arXiv:1909.08053 table 1"),
    "megatron-4.2b": (_gpt(64, 2304, 24, 1024), "GPT-2, arXiv:1909.08053 table 1"),
    "megatron-8.3b": (_gpt(72, 3072, 32, 1024), "GPT-2, arXiv:1909.08053 table 1"),
    "gpt-1.7b": (_gpt(24, 2304, 24), "arXiv:2104.04473 table 1"),
    "gpt-3.6b": (_gpt(30, 3072, 32), "arXiv:2104.04473 table 1"),
    "gpt-7.5b": (_gpt(36, 4096, 32), "arXiv:2104.04473 table 1"),
    "gpt-18b": (_gpt(40, 6144, 48), "arXiv:2104.04473 table 1"),
    "gpt-39b": (_gpt(48, 8192, 64), "arXiv:2104.04473 table 1"),
    "gpt-76b": (_gpt(60, 10240, 80), "arXiv:2104.04473 table 1"),
    "gpt-145b": (_gpt(80, 12288, 96), "arXiv:2104.04473 table 1"),
    "gpt-310b": (_gpt(96, 16384, 128), "arXiv:2104.04473 table 1"),
    "gpt-530b": (_gpt(105, 20480, 128), "arXiv:2104.04473 table 1"),
    "gpt-1t": (_gpt(128, 25600, 160), "arXiv:2104.04473 table 1"),
    "gpt-22b": (_gpt(48, 6144, 64), "arXiv:2205.05198 table 3"),
    "gpt-175b": (_gpt(96, 12288, 96), "arXiv:2205.05198 table 3"),
    "nemotron-4-15b": (_nemotron(32, 6144, 48), "arXiv:2402.16819 table 1"),
    "nemotron-4-340b": (_nemotron(96, 18432, 96), "arXiv:2406.11704 table 1"),
}  # fmt: skip
