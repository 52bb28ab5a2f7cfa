"""Small checkpoints as Megatron-LM saves them, in every version and spelling, for the tests.

The weights are random; how they are put together is written from Megatron-LM's side: a fused matrix
is stacked from its queries, keys and values in the order of the version.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

VOCAB, PADDED, D, LAYERS, HEADS, FF, POSITIONS = 29, 32, 12, 2, 3, 20, 7
VERSIONS = (None, 0, 0.0, 1.0, 2.0, 3.0)  # None: not stored
SPELLINGS = ("first", "second", "third")
MEMBER = "release/mp_rank_00/model_optim_rng.pt"  # in NGC's zip files
STACKED = {0: (0, 1, 2, 3), 1: (1, 2, 0, 3), 2: (1, 0, 2, 3)}  # axes of (3, heads, size, D)


def weights() -> dict[str, np.ndarray]:
    """Random weights under Hugging Face's names, one vocabulary of `PADDED` rows."""
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings": (PADDED, D),
        "bert.embeddings.position_embeddings": (POSITIONS, D),
        "bert.embeddings.token_type_embeddings": (2, D),
        "bert.encoder.ln": (D,),
        "bert.pooler.dense": (D, D),
        "cls.predictions.transform.dense": (D, D),
        "cls.predictions.transform.LayerNorm": (D,),
        "cls.seq_relationship": (2, D),
    }
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}."
        shapes |= {f"{layer}attention.self.{role}": (D, D) for role in ("query", "key", "value")}
        shapes |= {
            layer + "attention.ln": (D,),
            layer + "attention.output.dense": (D, D),
            layer + "ln": (D,),
            layer + "intermediate.dense": (FF, D),
            layer + "output.dense": (D, FF),
        }
    rng = np.random.default_rng(7)
    drawn = {}
    for name, shape in shapes.items():
        drawn[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        if "embeddings" not in name:
            drawn[f"{name}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    drawn["cls.predictions.bias"] = rng.normal(size=PADDED).astype(np.float32)
    drawn["cls.predictions.decoder.weight"] = drawn["bert.embeddings.word_embeddings.weight"]
    return drawn


def arguments(**changes: Any) -> argparse.Namespace:
    """The arguments of a training run, as far as they say what the model is."""
    known: dict[str, Any] = {
        "num_layers": LAYERS,
        "hidden_size": D,
        "ffn_hidden_size": FF,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "padded_vocab_size": PADDED,
        "tokenizer_type": "BertWordPieceLowerCase",
        "tensor_model_parallel_size": 1,
        "params_dtype": torch.float16,
        "lr": 1e-4,
    }
    return argparse.Namespace(**{**known, **changes})


def fused(w: dict[str, np.ndarray], layer: int, end: str, version: float | None) -> np.ndarray:
    """Queries, keys and values of a layer in one matrix or bias, rows in the version's order."""
    prefix = f"bert.encoder.layer.{layer}.attention.self."
    thirds = np.stack([w[f"{prefix}{role}.{end}"] for role in ("query", "key", "value")])
    by_heads = thirds.reshape(3, HEADS, D // HEADS, -1)
    rows = by_heads.transpose(STACKED[min(2, int(version or 0))])
    return rows.reshape(3 * D, D) if end == "weight" else rows.reshape(3 * D)


def transformer(
    w: dict[str, np.ndarray], version: float | None, spelling: str
) -> dict[str, np.ndarray]:
    """The flat dict of the layers and the last norm."""
    attention = "attention" if spelling == "first" else "self_attention"
    norm = "norm" if spelling == "third" else "layernorm"
    flat: dict[str, np.ndarray] = {}
    for i in range(LAYERS):
        names = {
            f"input_{norm}": "attention.ln",
            f"{attention}.query_key_value": "",
            f"{attention}.dense": "attention.output.dense",
            f"post_attention_{norm}": "ln",
            "mlp.dense_h_to_4h": "intermediate.dense",
            "mlp.dense_4h_to_h": "output.dense",
        }
        for old, new in names.items():
            for end in ("weight", "bias"):
                theirs = w.get(f"bert.encoder.layer.{i}.{new}.{end}")
                flat[f"layers.{i}.{old}.{end}"] = (
                    fused(w, i, end, version) if theirs is None else theirs
                )
    for end in ("weight", "bias"):
        flat[f"final_{norm}.{end}"] = w[f"bert.encoder.ln.{end}"]
    return flat


def checkpoint(
    version: float | None = None,
    spelling: str = "first",
    args: argparse.Namespace | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """The nested dicts of `model_optim_rng.pt`, with things in it that are no weights."""
    w = weights()
    norm = "norm" if spelling == "third" else "layernorm"
    lm_head = {"bias": w["cls.predictions.bias"]}
    for end in ("weight", "bias"):
        lm_head[f"dense.{end}"] = w[f"cls.predictions.transform.dense.{end}"]
        lm_head[f"{norm}.{end}"] = w[f"cls.predictions.transform.LayerNorm.{end}"]
    model = {
        "language_model": {
            "embedding": {
                f"{new}_embeddings": {"weight": w[f"bert.embeddings.{old}_embeddings.weight"]}
                for old, new in (
                    ("word", "word"),
                    ("position", "position"),
                    ("token_type", "tokentype"),
                )
            },
            "transformer" if spelling == "first" else "encoder": transformer(w, version, spelling),
            "pooler": {f"dense.{end}": w[f"bert.pooler.dense.{end}"] for end in ("weight", "bias")},
        },
        "lm_head": lm_head,
        "binary_head": {end: w[f"cls.seq_relationship.{end}"] for end in ("weight", "bias")},
    }
    stored = {} if version is None else {"checkpoint_version": version}
    stored |= {} if args is None else {"args": args}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}
    return {"iteration": 9, **stored, "model": as_torch(model, dtype), "optimizer": optimizer}


def split(
    folder: Path, version: float | None, spelling: str, shards: int, stages: int
) -> list[Path]:
    """Write a checkpoint of several ranks as Megatron-LM does; return the files by rank."""
    args = arguments(tensor_model_parallel_size=shards, pipeline_model_parallel_size=stages)
    paths = []
    for stage in range(stages):
        for shard in range(shards):
            saved = checkpoint(version, spelling, args)
            model = saved["model"]
            own = _stage(model, stage, stages)
            if stages > 1 and stage == stages - 1:
                words = model["language_model"]["embedding"]["word_embeddings"]
                own["word_embeddings_for_head"] = words
            saved["model"] = _shard(own, "", shard, shards, version)
            name = f"mp_rank_{shard:02d}" + (f"_{stage:03d}" if stages > 1 else "")
            (folder / name).mkdir(parents=True)
            paths.append(folder / name / "model_optim_rng.pt")
            torch.save(saved, paths[-1])
    return paths


def _stage(model: dict[str, Any], stage: int, stages: int) -> dict[str, Any]:
    """The part of the nested dicts that a stage has; its layers are numbered from 0."""
    language = dict(model["language_model"])
    key = "transformer" if "transformer" in language else "encoder"
    per, layers = LAYERS // stages, {}
    for name, tensor in language[key].items():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            if int(number) // per == stage:
                layers[f"layers.{int(number) % per}.{rest}"] = tensor
        elif stage == stages - 1:
            layers[name] = tensor
    last = stage == stages - 1
    kept = {"embedding": stage == 0, "pooler": last}
    language = {name: part for name, part in language.items() if kept.get(name)}
    heads = {name: part for name, part in model.items() if name != "language_model"}
    return {"language_model": {**language, key: layers}, **(heads if last else {})}


def _shard(value: Any, path: str, shard: int, shards: int, version: float | None) -> Any:
    """A tensor-parallel rank's part of nested dicts."""
    if isinstance(value, dict):
        items = value.items()
        return {k: _shard(v, f"{path}.{k}", shard, shards, version) for k, v in items}
    if "query_key_value" in path and not version:  # each of the three is split
        thirds = value.reshape(3, D, *value.shape[1:]).chunk(shards, 1)
        return thirds[shard].reshape(-1, *value.shape[1:]).clone()
    by_rows = ("query_key_value", "dense_h_to_4h", "word_embeddings", "lm_head.bias")
    if any(part in path for part in by_rows):
        return value.tensor_split(shards, 0)[shard].clone()
    if path.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
        return value.tensor_split(shards, 1)[shard].clone()
    return value


def as_torch(value: Any, dtype: torch.dtype) -> Any:
    """Nested dicts of arrays as nested dicts of tensors."""
    if isinstance(value, dict):
        return {key: as_torch(item, dtype) for key, item in value.items()}
    return torch.from_numpy(np.ascontiguousarray(value)).to(dtype)


def save(saved: dict[str, Any], path: Path, new: bool = True, compressed: bool = True) -> Path:
    """Write a checkpoint: in a zip as NGC has it, or bare if that is what the name asks for."""
    bare = path if path.suffix == ".pt" else path.with_suffix(".inner")
    torch.save(saved, bare, _use_new_zipfile_serialization=new)
    if bare != path:
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.write(bare, MEMBER)
        bare.unlink()
    return path
