"""Small checkpoints in folders that are named as the documents' examples name them.

transformers writes them, with random weights, from the PyTorch class that the example uses: so no
weight is missing that each library would draw in its own way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tests.models.oracle import draw_weights

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] , . ? ; hello my dog is cute the capital of france paris in "
    "italy pizza served formal settings such as at a restaurant presented un ##sl ##iced sky blue "
    "due to shorter wave ##length light it eaten with fork and knife while held hand Hu ##gging "
    "##F ##ace company based Paris New York Who was Jim He ##nson nice puppet France The Hello In "
    "who jim he hu ##gging ##face new york <mask> It"
)
WORDS = VOCABULARY.split()
LABELS = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
# Byte pairs that are joined, from the left, to these words ("\u0120" is a space).
WHOLE = "you conscious are talk Paris paragraph: solar system"
JOINED = ["Complete", *(f"\u0120{word}" for word in WHOLE.split())]
MERGES = list(dict.fromkeys((word[:i], word[i]) for word in JOINED for i in range(1, len(word))))
TOKENS = ("<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode().values(), *map("".join, MERGES))
BYTES = {token: i for i, token in enumerate((*TOKENS, "<mask>"))}
SIZES: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
    "max_position_embeddings": 64,
}  # fmt: skip
BERT_SIZES = {**SIZES, "vocab_size": len(WORDS)}
MEGA_SIZES: dict[str, Any] = {
    "vocab_size": len(BYTES), "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 20,
    "ema_projection_size": 3, "shared_representation_size": 8, "nffn_hidden_size": 12,
    "max_positions": 64,
}  # fmt: skip
NEMOTRON_SIZES = {
    **SIZES,
    "hidden_size": 32,
    "vocab_size": len(BYTES),
    "num_key_value_heads": 2,
    "eos_token_id": 2,
}


def write(folder: Path, class_name: str, seed: int, **options: Any) -> Any:
    """Save a random model of a class of transformers, with a tokenizer, and return it."""
    model = _model(class_name, folder.name, options)
    draw_weights(model, seed)
    if hasattr(model, "cls") and hasattr(model.cls, "seq_relationship"):
        with torch.no_grad():  # the examples assert that the next sentence is a random one
            model.cls.seq_relationship.bias.copy_(torch.tensor([-9.0, 9.0]))
    model.save_pretrained(folder)
    _WRITERS[model.config.model_type](folder)
    return model


def _model(class_name: str, folder: str, options: dict[str, Any]) -> Any:
    kind = getattr(transformers, class_name)
    if class_name.startswith("Mega") and not class_name.startswith("Megatron"):
        return kind(transformers.MegaConfig(**MEGA_SIZES, **options))
    if class_name.startswith("Nemotron"):
        return kind(transformers.NemotronConfig(**NEMOTRON_SIZES))
    if "conll03" in folder:
        options["id2label"] = dict(enumerate(LABELS))
    return kind(kind.config_class(**BERT_SIZES, **options))


def _write_words(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    options = {"do_lower_case": "uncased" in folder.name, "tokenizer_class": "BertTokenizer"}
    if folder.name == "megatron-bert-uncased-345m":  # the mask that its example writes
        options["mask_token"] = "<mask>"
    (folder / "tokenizer_config.json").write_text(json.dumps(options))


def _write_bytes(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(BYTES))
    merges = "\n".join(f"{left} {right}" for left, right in MERGES)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")


def _write_tokenizer_json(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE(BYTES, MERGES, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


_WRITERS = {
    "bert": _write_words,
    "megatron-bert": _write_words,
    "mega": _write_bytes,
    "nemotron": _write_tokenizer_json,
}
