"""Every operation of the engine: one `Function` class each, forward and backward side by side on
raw arrays.
"""

import sys

from tinybert.autograd import operators
from tinybert.ops.activations import Erf, Gelu, GeluNew, Laplace, Relu, Relu2, Sigmoid, Silu, Tanh
from tinybert.ops.arguments import (
    chunk_size,
    flattened_shape,
    operand,
    shape_argument,
    squeezed_shape,
    transposed_axes,
    unsqueezed_shape,
)
from tinybert.ops.attention import ScaledDotProductAttention
from tinybert.ops.convolution import LongConvolution
from tinybert.ops.dropout import Dropout
from tinybert.ops.elementwise import (
    Abs,
    Add,
    Cast,
    Clip,
    Clone,
    Compare,
    Div,
    Exp,
    Log,
    MaskedFill,
    Mul,
    Neg,
    Pow,
    Rsqrt,
    Sqrt,
    Sub,
    ToDevice,
    Where,
)
from tinybert.ops.ema import EMARecurrence
from tinybert.ops.embedding import Embedding, check_range
from tinybert.ops.fourier import IRFFT, RFFT
from tinybert.ops.indexing import Gather, GetItem, ScatterAdd, normal_index
from tinybert.ops.losses import L1, MSE, BCEWithLogits, CrossEntropy, KLDiv, NLLLoss
from tinybert.ops.matmul import Einsum, Linear, LinearGelu, MatMul
from tinybert.ops.normalization import BatchNorm, LayerNorm, RMSNorm, ScaleNorm
from tinybert.ops.powers import Polynomials, PowerSums
from tinybert.ops.reductions import ArgMax, ArgMin, CumSum, Max, Mean, Min, Sum, Var
from tinybert.ops.rotary import RotaryEmbedding
from tinybert.ops.shape import (
    Concat,
    Expand,
    Flip,
    Pad,
    Permute,
    Reshape,
    Roll,
    Split,
    Stack,
    Tril,
    Triu,
)
from tinybert.ops.softmax import LogSoftmax, LogSumExp, Softmax

operators.ops = sys.modules[__name__]  # the methods of Tensor find their operations here
