"""Text to ids and back: tokenizers by hand, equal to those of Hugging Face transformers.

Knows nothing of tensors or models, and can be used alone.
"""

from tinybert.tokenizers.added_tokens import AddedToken
from tinybert.tokenizers.auto import AutoTokenizer
from tinybert.tokenizers.bert import BertTokenizer
from tinybert.tokenizers.bert_base import load_vocab, save_vocab
from tinybert.tokenizers.bert_fast import BertTokenizerFast
from tinybert.tokenizers.bpe_files import load_bpe, save_bpe
from tinybert.tokenizers.encoding import BatchEncoding, register_tensor_type
from tinybert.tokenizers.json_tokenizer import TokenizerJSON
from tinybert.tokenizers.mega import MegaTokenizer
from tinybert.tokenizers.train_bpe import train_bpe
from tinybert.tokenizers.train_wordpiece import train_wordpiece

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
