"""The one list of differentiable functions, by convention imported as `F`.

Each is written in a file of `tinybert.ops`, beneath the class with its forward and backward.
Argument order is torch's where torch has the function; tensors may also be arrays or lists.
"""

# --- layers ---------------------------------------------------------------------------------------

from tinybert.ops.attention import scaled_dot_product_attention
from tinybert.ops.batch_norm import batch_norm
from tinybert.ops.dropout import dropout
from tinybert.ops.embedding import embedding
from tinybert.ops.gelu import linear_gelu
from tinybert.ops.heads import merge_heads, split_heads
from tinybert.ops.layer_norm import layer_norm
from tinybert.ops.linear import linear
from tinybert.ops.packing import pack_tokens, segment_attention, unpack_tokens
from tinybert.ops.rms_norm import rms_norm, scale_norm
from tinybert.ops.rotary import rotary_embedding

# --- activations ----------------------------------------------------------------------------------

from tinybert.ops.gelu import gelu
from tinybert.ops.gelu_new import gelu_new
from tinybert.ops.laplace import laplace
from tinybert.ops.relu import relu, relu2
from tinybert.ops.sigmoid import sigmoid
from tinybert.ops.silu import silu
from tinybert.ops.softmax import softmax
from tinybert.ops.log_softmax import log_softmax, logsumexp
from tinybert.ops.tanh import tanh

# --- losses ---------------------------------------------------------------------------------------

from tinybert.ops.binary_cross_entropy import binary_cross_entropy_with_logits
from tinybert.ops.cross_entropy import cross_entropy
from tinybert.ops.kl_div import kl_div
from tinybert.ops.mse_loss import l1_loss, mse_loss
from tinybert.ops.nll_loss import nll_loss
from tinybert.ops.one_hot import one_hot

# --- elementwise ----------------------------------------------------------------------------------

from tinybert.ops.addition import add, sub
from tinybert.ops.clip import clip
from tinybert.ops.compare import bitwise_and, bitwise_or, eq, ge, gt, le, logical_not, lt, ne
from tinybert.ops.copies import astype, clone, contiguous
from tinybert.ops.erf import erf
from tinybert.ops.exponential import exp, log, rsqrt, sqrt
from tinybert.ops.multiplication import div, mul
from tinybert.ops.power import pow
from tinybert.ops.sign import abs, neg
from tinybert.ops.where import masked_fill, where

# --- products and reductions ----------------------------------------------------------------------

from tinybert.ops.cumsum import cumsum
from tinybert.ops.einsum import einsum
from tinybert.ops.extremes import argmax, argmin, max, min
from tinybert.ops.matmul import matmul
from tinybert.ops.reductions import mean, sum
from tinybert.ops.variance import std, var

# --- shape and indexing ---------------------------------------------------------------------------

from tinybert.ops.expand import expand
from tinybert.ops.gather import gather, scatter_add
from tinybert.ops.join import concat, stack
from tinybert.ops.pad import pad
from tinybert.ops.permute import permute, swapaxes, transpose
from tinybert.ops.reshape import reshape
from tinybert.ops.roll import flip, roll
from tinybert.ops.split import chunk, split
from tinybert.ops.squeeze import flatten, squeeze, unsqueeze
from tinybert.ops.triangle import tril, triu

# --- moving averages and spectra ------------------------------------------------------------------

from tinybert.ops.convolution import long_convolution
from tinybert.ops.ema import ema_recurrence
from tinybert.ops.fourier import irfft, rfft
from tinybert.ops.power_sums import polynomials, power_sums
