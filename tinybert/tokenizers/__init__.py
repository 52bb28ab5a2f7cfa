"""Tokenizers: text to ids and back, with the results of Hugging Face transformers.

They do not depend on tensors or models. The algorithms are in `tinybert.text`, the parts of a
tokenizer.json in `tinybert.tokenizer_json`.
"""

from tinybert.checks import register_tensor_type
from tinybert.text.added_token import AddedToken
from tinybert.text.train_bpe import train_bpe
from tinybert.text.train_wordpiece import train_wordpiece
from tinybert.tokenizers.auto import AutoTokenizer
from tinybert.tokenizers.batch_encoding import BatchEncoding
from tinybert.tokenizers.bert import BertTokenizer, load_vocab, save_vocab
from tinybert.tokenizers.bert_fast import BertTokenizerFast
from tinybert.tokenizers.bpe_files import load_bpe, save_bpe
from tinybert.tokenizers.from_json import TokenizerJSON
from tinybert.tokenizers.mega import MegaTokenizer

__all__ = [
    "AddedToken",
    "AutoTokenizer",
    "BatchEncoding",
    "BertTokenizer",
    "BertTokenizerFast",
    "MegaTokenizer",
    "TokenizerJSON",
    "load_bpe",
    "load_vocab",
    "register_tensor_type",
    "save_bpe",
    "save_vocab",
    "train_bpe",
    "train_wordpiece",
]
