"""tinybert: a deep-learning engine small enough to read, that runs real weights.

    import tinybert
    tokenizer = tinybert.BertTokenizer.from_pretrained(folder)
    model = tinybert.BertModel.from_pretrained(folder)
    output = model(**tokenizer("Hello, world!", return_tensors="tb"))
    output.last_hidden_state.shape

Floors, from the ground up: `backend` (arrays and kernels), `text`, `tokenizer_json`, `tokenizers`
and `checkpoints`;
`autograd` (the tape); `ops` (every operation, forward and backward); `functional`; `nn`, `optim`;
`models`; `embedding`, `compare`; `pipelines`; `bench`; and on top the command line. A floor imports
only from floors below it.
"""

from os import environ as _environ

# After a product OpenBLAS's threads spin, waiting for the next one, on the very cores that our own
# kernels need in between. This lets them sleep at once (2^8 cycles); it takes effect if NumPy was
# not imported before, and a value that the user has set stands.
_environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "8")

from tinybert import functional, nn, optim
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
from tinybert.backend import DeviceError, cuda_is_available, manual_seed
from tinybert.checkpoints import CheckpointError, load_checkpoint, load_file, save_file
from tinybert.compare import compare
from tinybert.deviations import deviations
from tinybert.embedding import SentenceEmbedder
from tinybert.functional import concat, einsum, stack, where
from tinybert.generation import (
    GenerationConfig,
    LogitsProcessorList,
    TextIteratorStreamer,
    TextStreamer,
)
from tinybert.models import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForPreTrainingOutput,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    MegaConfig,
    MegaForCausalLM,
    MegaForMaskedLM,
    MegaForMultipleChoice,
    MegaForQuestionAnswering,
    MegaForSequenceClassification,
    MegaForTokenClassification,
    MegaModel,
    MegatronBertConfig,
    MegatronBertForCausalLM,
    MegatronBertForMaskedLM,
    MegatronBertForMultipleChoice,
    MegatronBertForNextSentencePrediction,
    MegatronBertForPreTraining,
    MegatronBertForPreTrainingOutput,
    MegatronBertForQuestionAnswering,
    MegatronBertForSequenceClassification,
    MegatronBertForTokenClassification,
    MegatronBertModel,
    NemotronConfig,
    NemotronForCausalLM,
    NemotronForQuestionAnswering,
    NemotronForSequenceClassification,
    NemotronForTokenClassification,
    NemotronModel,
    PretrainedConfig,
)
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
    register_tensor_type,
    train_bpe,
    train_wordpiece,
)

register_tensor_type("tb", as_tensor)

__version__ = "0.1.0"
__all__ = [name for name in dir() if not name.startswith("_")]  # all of the above, and its modules
