"""`tinybert plot attention`: what each head of a model attends to, in one text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import no_grad
from tinybert.checks import check_integer
from tinybert.cli.attention_chart import MAX_TOKENS, save_all_heads, save_heads
from tinybert.cli.graph_chart import recorded
from tinybert.cli.terminal import print_json, shorten, table
from tinybert.cli.token_probabilities import WORD_MARKS
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.hub_cache import EMBEDDED
from tinybert.trace.html.page import attention_steps, page
from tinybert.weights import atomic_write

SHOWN_LINKS = 10
PAGE = ".html"  # a page with all heads, in place of a figure
TOKEN_WIDTH = 20
MARKS = "".join(WORD_MARKS) + "#"  # around a token that is not a whole word


def show_attention(args: argparse.Namespace, text: str, path: Path | None) -> int:
    """Print the strongest links between the tokens of a text, and draw the heads; return 0."""
    folder = resolve(args.model or EMBEDDED, WEIGHT_FILES)
    embedder = SentenceEmbedder.from_pretrained(folder, device=args.device)
    tokens, maps = attention_maps(embedder, text)
    layers = _chosen("--layer", args.layer, len(maps), "layers")
    heads = _chosen("--head", args.head, maps.shape[1], "heads")
    maps = maps[layers][:, heads]
    if path is not None and path.suffix.lower() == PAGE:
        save_page(path, embedder, text, tokens, layers[0], heads[0])
    elif path is not None:
        if args.layer is None and args.head is None:
            save_all_heads(path, maps)
        else:
            names = [f"layer {layer}, head {head}" for layer in layers for head in heads]
            save_heads(path, maps.reshape(-1, *maps.shape[2:]), names, tokens)
    if args.json:
        weights = [
            {"layer": layer, "head": head, "weights": _rounded(maps[i, j])}
            for i, layer in enumerate(layers)
            for j, head in enumerate(heads)
        ]
        print_json({"model": str(folder), "tokens": tokens, "attention": weights})
        return 0
    special = set(embedder.tokenizer.all_special_tokens)
    queries = [token not in special for token in tokens]
    keys, asked = queries, args.token
    if asked is not None:
        queries = [token.strip(MARKS).lower() == asked.lower() for token in tokens]
        if not any(queries):
            raise ValueError(f"--token must be one of {' '.join(tokens)}, got {asked!r}")
    links = strongest_links(maps, queries, keys, SHOWN_LINKS)
    rows = [
        [
            str(layers[i]), str(heads[j]), f"{maps[i, j, q, k]:.3f}",
            shorten(tokens[q], TOKEN_WIDTH), shorten(tokens[k], TOKEN_WIDTH),
        ]
        for i, j, q, k in links
    ]  # fmt: skip
    print("\n".join(table(["layer", "head", "weight", "token", "attends to"], rows, "rrrll")))
    return 0


def save_page(
    path: Path, embedder: SentenceEmbedder, text: str, tokens: list[str], layer: int, head: int
) -> None:
    """Save the page of a record of the forward pass, which begins at the attention of a head."""
    trace = recorded(embedder, text)
    place = f"step={attention_steps(trace)[layer]}&head={head}&screen=attention"
    with atomic_write(path) as file:
        file.write(page(trace, text, [tokens], place).encode())


def attention_maps(embedder: SentenceEmbedder, text: str) -> tuple[list[str], np.ndarray]:
    """Return the T tokens of a text, and the attention weights (L, H, T, T) of all heads.

    A model with chunks attends inside of each chunk; other weights are NaN.
    """
    inputs, _ = embedder.read([text])
    count = int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else 0
    if not 0 < count <= MAX_TOKENS:
        raise ValueError(f"plot attention shows 1 to {MAX_TOKENS} tokens, got {count}")
    with no_grad():
        output = embedder.model(**inputs, output_attentions=True)
    if not output.attentions:
        raise ValueError(f"{type(embedder.model).__name__} has no attention weights to show")
    layers = [_whole(weights.numpy()[0], embedder.model) for weights in output.attentions]
    tokens = embedder.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0, :count].tolist())
    return tokens, np.stack(layers)[:, :, :count, :count]


def _whole(weights: np.ndarray, model: Any) -> np.ndarray:
    """Return the weights of a layer as (H, T, T); those of C chunks (C, N, N) as (1, C N, C N)."""
    if not getattr(model.config, "use_chunking", False):
        return weights
    chunks, size, _ = weights.shape
    whole = np.full((1, chunks * size, chunks * size), np.nan, weights.dtype)
    for n in range(chunks):
        part = slice(n * size, (n + 1) * size)
        whole[0, part, part] = weights[n]
    return whole


def strongest_links(
    maps: np.ndarray, queries: list[bool], keys: list[bool], count: int
) -> list[tuple[int, int, int, int]]:
    """Return (layer, head, query, key) of the largest weight of each head, the largest first.

    maps: the weights (L, H, T, T). queries, keys: for each token, whether it is of interest. What a
    token attends to in itself and in its neighbours is left out: it is large in many heads.
    """
    positions = np.arange(maps.shape[-1])
    far = np.abs(positions[:, None] - positions) > 1
    shown = np.array(queries)[:, None] & np.array(keys) & far
    weights = np.where(shown & ~np.isnan(maps), maps, -1.0)
    flat = weights.reshape(*maps.shape[:2], -1)
    best, where = flat.max(axis=-1), flat.argmax(axis=-1)
    links = []
    for index in np.argsort(-best, axis=None, kind="stable")[:count]:
        layer, head = divmod(int(index), maps.shape[1])
        if best[layer, head] >= 0:
            query, key = divmod(int(where[layer, head]), maps.shape[-1])
            links.append((layer, head, query, key))
    return links


def _chosen(flag: str, number: int | None, count: int, what: str) -> list[int]:
    """Return the number of a flag as a list, or all numbers."""
    if number is None:
        return list(range(count))
    check_integer(flag, number, 0)
    if number >= count:
        raise ValueError(f"{flag} must be from 0 to {count - 1}, got {number}: {count} {what}")
    return [number]


def _rounded(weights: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(x) else round(float(x), 6) for x in row] for row in weights]
