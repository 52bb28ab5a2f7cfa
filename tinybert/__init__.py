"""tinybert: a deep-learning engine small enough to read, which runs pretrained checkpoints.

    import tinybert
    tokenizer = tinybert.BertTokenizer.from_pretrained(folder)
    model = tinybert.BertModel.from_pretrained(folder)
    output = model(**tokenizer("Hello, world!", return_tensors="tb"))
    output.last_hidden_state.shape

Packages, from the ground up: `backend` (arrays and devices); `text` (text to tokens), `tokenizers`;
`weights` (safetensors files and model folders); `autograd`; `ops` (every operation, forward and
backward, and its kernels); `functional` and `methods` (the lists of them); `torch_names` (torch's
spelling of them, exported here); `nn`, `optim`; `transforms` (gradients as functions);
`generation`; `models`; `formats` (weight files of other frameworks); `embedding`, `comparison`;
`pipelines`; `search`, `training`, `trace`; `export`; `frontends` (BERT as other frameworks call
it); `parallel`; `learn`; `bench`; `cli`. A package imports only from those before it.

Tensors, operations, layers and optimizers are imported at once, everything else when it is first
used: `import tinybert` then takes less than twice as long as `import numpy`.
"""

import builtins as _builtins
import typing as _typing
from importlib import import_module as _import
from importlib.util import find_spec as _find_spec
from os import environ as _environ

from tinybert import interruption as _interruption  # before the imports that take time
from tinybert import processors as _processors

# After a product OpenBLAS's threads spin, waiting for the next one, on the cores that our kernels
# need in between. This lets them sleep after 2^14 cycles, less than 10 us. Both settings take
# effect if NumPy was not imported before; a value set by the user is kept.
_environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")
_processors.limit_threads(_environ)

from tinybert import formats, functional, log, nn, optim
from tinybert.autograd import (
    Function,
    GradcheckError,
    Tensor,
    as_tensor,
    enable_grad,
    get_default_device,
    get_default_dtype,
    gradcheck,
    is_grad_enabled,
    no_grad,
    set_default_device,
    set_default_dtype,
)
from tinybert.backend import DeviceError, cuda_is_available, manual_seed, plain
from tinybert.checks import register_tensor_type
from tinybert.deviations import deviations
from tinybert.functional import concat, einsum, stack, where
from tinybert.methods import attach_methods as _attach_methods
from tinybert.torch_names import *
from tinybert.torch_names.methods import TorchMethods as _TorchMethods
from tinybert.torch_names.methods import count_elements as _count_elements
from tinybert.transforms import functional_call, grad, jit, value_and_grad, vmap
from tinybert.weights import CheckpointError, load_checkpoint, load_file, save_file

if _typing.TYPE_CHECKING:  # the names of _LATER, and all of `families`
    from tinybert import search, training
    from tinybert.comparison import compare
    from tinybert.embedding import SentenceEmbedder
    from tinybert.export import export_onnx, load_onnx
    from tinybert.generation import (
        GenerationConfig,
        LogitsProcessorList,
        TextIteratorStreamer,
        TextStreamer,
    )
    from tinybert.learn import show
    from tinybert.learn.museum import bug
    from tinybert.models.families import *
    from tinybert.outputs import (
        BaseModelOutput,
        BaseModelOutputWithPast,
        BaseModelOutputWithPoolingAndCrossAttentions,
        CausalLMOutputWithCrossAttentions,
        CausalLMOutputWithPast,
        MaskedLMOutput,
        ModelOutput,
        MultipleChoiceModelOutput,
        NextSentencePredictorOutput,
        QuestionAnsweringModelOutput,
        Seq2SeqLMOutput,
        SequenceClassifierOutput,
        SequenceClassifierOutputWithPast,
        TokenClassifierOutput,
    )
    from tinybert.pipelines import (
        FeatureExtractionPipeline,
        FillMaskPipeline,
        MultipleChoicePipeline,
        NextSentencePipeline,
        Pipeline,
        QuestionAnsweringPipeline,
        SentenceSimilarityPipeline,
        TextClassificationPipeline,
        TextGenerationPipeline,
        TokenClassificationPipeline,
        pipeline,
    )
    from tinybert.tokenizers import (
        AddedToken,
        AutoTokenizer,
        BatchEncoding,
        BertTokenizer,
        BertTokenizerFast,
        MegaTokenizer,
        TokenizerJSON,
        train_bpe,
        train_wordpiece,
    )
    from tinybert.trace import Trace, load_trace, record

_attach_methods()
_attach_methods(_TorchMethods)
Tensor.size = property(_count_elements)  # type: ignore[assignment,method-assign]
for _name in ("tb", "pt", "tf", "jax"):  # examples for other frameworks get this one's Tensors
    register_tensor_type(_name, as_tensor)

__version__ = "0.1.0"
# Each of these is imported when one of its names is first used.
_LATER = {
    "comparison": "compare",
    "embedding": "SentenceEmbedder",
    "export": "export_onnx load_onnx",
    "generation": """
        GenerationConfig LogitsProcessorList TextIteratorStreamer TextStreamer
    """,
    "learn": "show",
    "learn.museum": "bug",
    "outputs": """
        BaseModelOutput BaseModelOutputWithPast BaseModelOutputWithPoolingAndCrossAttentions
        CausalLMOutputWithCrossAttentions CausalLMOutputWithPast MaskedLMOutput ModelOutput
        MultipleChoiceModelOutput NextSentencePredictorOutput QuestionAnsweringModelOutput
        Seq2SeqLMOutput SequenceClassifierOutput SequenceClassifierOutputWithPast
        TokenClassifierOutput
    """,
    "pipelines": """
        FeatureExtractionPipeline FillMaskPipeline MultipleChoicePipeline NextSentencePipeline
        Pipeline QuestionAnsweringPipeline SentenceSimilarityPipeline
        TextClassificationPipeline TextGenerationPipeline TokenClassificationPipeline pipeline
    """,
    "tokenizers": """
        AddedToken AutoTokenizer BatchEncoding BertTokenizer BertTokenizerFast MegaTokenizer
        TokenizerJSON train_bpe train_wordpiece
    """,
    "trace": "Trace load_trace record",
}
_HOMES = {name: package for package, names in _LATER.items() for name in names.split()}
# The same for names with these beginnings.
_FRONTENDS = {"TFBert": "tensorflow", "FlaxBert": "flax"}


def __getattr__(name: str) -> _typing.Any:
    """Import the package `name`, or the module that defines `name`, at its first use."""
    if name == "__all__":  # all but for what `import *` would put before Python's own
        pythons = {*dir(_builtins), "trace", "chunk"}
        return [name for name in __dir__() if not name.startswith("_") and name not in pythons]
    for start, package in _FRONTENDS.items():
        if name.startswith(start):
            return getattr(_import(f"tinybert.frontends.{package}"), name)
    if name.isidentifier() and not name.startswith("_"):
        if name not in _HOMES and _find_spec(f"tinybert.{name}"):
            return _import(f"tinybert.{name}")
        home = _import(f"tinybert.{_HOMES.get(name, 'models.families')}")
        if hasattr(home, name):
            return globals().setdefault(name, getattr(home, name))
    raise AttributeError(f"module 'tinybert' has no attribute {name!r}")


def __dir__() -> list[str]:
    for name in (*_HOMES, *vars(_import("tinybert.models.families")), "search", "training"):
        if not name.startswith("_"):
            __getattr__(name)
    return sorted(globals())
