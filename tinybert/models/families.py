"""The model families, one line for each: what a family's `__all__` names is public, as
`tinybert.models.X` and `tinybert.X`, and known to the Auto classes.
"""

from tinybert.models import auto as _auto
from tinybert.models.auto import *
from tinybert.models.bert import *
from tinybert.models.bert_heads import *
from tinybert.models.bert_tasks import *
from tinybert.models.config import PretrainedConfig as PretrainedConfig
from tinybert.models.encoder_decoder import *
from tinybert.models.lora import *
from tinybert.models.mega import *
from tinybert.models.megatron_bert import *
from tinybert.models.nemotron import *

_auto.register_family([*globals().values()])
