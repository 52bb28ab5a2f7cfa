# Written by python -m tests.house.stubs --write
from tinybert import formats as formats
from tinybert import functional as functional
from tinybert import nn as nn
from tinybert import optim as optim
from tinybert.autograd import Function as Function
from tinybert.autograd import GradcheckError as GradcheckError
from tinybert.autograd import Tensor as Tensor
from tinybert.autograd import as_tensor as as_tensor
from tinybert.autograd import enable_grad as enable_grad
from tinybert.autograd import get_default_device as get_default_device
from tinybert.autograd import get_default_dtype as get_default_dtype
from tinybert.autograd import gradcheck as gradcheck
from tinybert.autograd import is_grad_enabled as is_grad_enabled
from tinybert.autograd import no_grad as no_grad
from tinybert.autograd import set_default_device as set_default_device
from tinybert.autograd import set_default_dtype as set_default_dtype
from tinybert.backend import DeviceError as DeviceError
from tinybert.backend import cuda_is_available as cuda_is_available
from tinybert.backend import manual_seed as manual_seed
from tinybert.backend import plain as plain
from tinybert.checks import register_tensor_type as register_tensor_type
from tinybert.deviations import deviations as deviations
from tinybert.torch_names import *
from tinybert.transforms import functional_call as functional_call
from tinybert.transforms import grad as grad
from tinybert.transforms import jit as jit
from tinybert.transforms import value_and_grad as value_and_grad
from tinybert.transforms import vmap as vmap
from tinybert.weights import CheckpointError as CheckpointError
from tinybert.weights import load_checkpoint as load_checkpoint
from tinybert.weights import load_file as load_file
from tinybert.weights import save_file as save_file
from tinybert import search as search
from tinybert import training as training
from tinybert.comparison import compare as compare
from tinybert.embedding import SentenceEmbedder as SentenceEmbedder
from tinybert.export import export_onnx as export_onnx
from tinybert.export import load_onnx as load_onnx
from tinybert.generation import GenerationConfig as GenerationConfig
from tinybert.generation import LogitsProcessorList as LogitsProcessorList
from tinybert.generation import TextIteratorStreamer as TextIteratorStreamer
from tinybert.generation import TextStreamer as TextStreamer
from tinybert.learn import show as show
from tinybert.learn.museum import bug as bug
from tinybert.models.families import *
from tinybert.outputs import BaseModelOutput as BaseModelOutput
from tinybert.outputs import BaseModelOutputWithPast as BaseModelOutputWithPast
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions as BaseModelOutputWithPoolingAndCrossAttentions
from tinybert.outputs import CausalLMOutputWithCrossAttentions as CausalLMOutputWithCrossAttentions
from tinybert.outputs import CausalLMOutputWithPast as CausalLMOutputWithPast
from tinybert.outputs import MaskedLMOutput as MaskedLMOutput
from tinybert.outputs import ModelOutput as ModelOutput
from tinybert.outputs import MultipleChoiceModelOutput as MultipleChoiceModelOutput
from tinybert.outputs import NextSentencePredictorOutput as NextSentencePredictorOutput
from tinybert.outputs import QuestionAnsweringModelOutput as QuestionAnsweringModelOutput
from tinybert.outputs import Seq2SeqLMOutput as Seq2SeqLMOutput
from tinybert.outputs import SequenceClassifierOutput as SequenceClassifierOutput
from tinybert.outputs import SequenceClassifierOutputWithPast as SequenceClassifierOutputWithPast
from tinybert.outputs import TokenClassifierOutput as TokenClassifierOutput
from tinybert.pipelines import FeatureExtractionPipeline as FeatureExtractionPipeline
from tinybert.pipelines import FillMaskPipeline as FillMaskPipeline
from tinybert.pipelines import MultipleChoicePipeline as MultipleChoicePipeline
from tinybert.pipelines import NextSentencePipeline as NextSentencePipeline
from tinybert.pipelines import Pipeline as Pipeline
from tinybert.pipelines import QuestionAnsweringPipeline as QuestionAnsweringPipeline
from tinybert.pipelines import SentenceSimilarityPipeline as SentenceSimilarityPipeline
from tinybert.pipelines import TextClassificationPipeline as TextClassificationPipeline
from tinybert.pipelines import TextGenerationPipeline as TextGenerationPipeline
from tinybert.pipelines import TokenClassificationPipeline as TokenClassificationPipeline
from tinybert.pipelines import pipeline as pipeline
from tinybert.tokenizers import AddedToken as AddedToken
from tinybert.tokenizers import AutoTokenizer as AutoTokenizer
from tinybert.tokenizers import BatchEncoding as BatchEncoding
from tinybert.tokenizers import BertTokenizer as BertTokenizer
from tinybert.tokenizers import BertTokenizerFast as BertTokenizerFast
from tinybert.tokenizers import MegaTokenizer as MegaTokenizer
from tinybert.tokenizers import TokenizerJSON as TokenizerJSON
from tinybert.tokenizers import train_bpe as train_bpe
from tinybert.tokenizers import train_wordpiece as train_wordpiece
from tinybert.trace import Trace as Trace
from tinybert.trace import load_trace as load_trace
from tinybert.trace import record as record
__version__: str
from typing import Any


def __getattr__(name: str) -> Any: ...  # classes of frontends
