"""torch's names, for `import tinybert as torch`: functions, ways to make tensors, and dtypes.

Each function takes torch's arguments in torch's order and gives torch's values and gradients; an
argument that it does not have (`decimals` of `round`, `dtype` of `mean`) is a TypeError.
`tinybert` exports all of them. Random numbers differ from torch's. The methods of Tensor are in
`methods`, with what differs there.
"""

from types import ModuleType as _Module

from tinybert.autograd import no_grad as inference_mode
from tinybert.functional import (
    abs,
    argmax,
    argmin,
    chunk,
    concat,
    cumsum,
    einsum,
    eq,
    erf,
    exp,
    flatten,
    flip,
    gather,
    ge,
    gt,
    le,
    log,
    log_softmax,
    logical_not,
    logsumexp,
    lt,
    masked_fill,
    matmul,
    mean,
    mul,
    ne,
    neg,
    permute,
    pow,
    relu,
    reshape,
    roll,
    rsqrt,
    sigmoid,
    softmax,
    split,
    sqrt,
    squeeze,
    stack,
    sum,
    swapaxes,
    tanh,
    transpose,
    tril,
    triu,
    unsqueeze,
    where,
)
from tinybert.torch_names.arithmetic import add, div, prod, sub
from tinybert.torch_names.creation import (
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
    arange,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    inf,
    is_tensor,
    linspace,
    nan,
    ones,
    ones_like,
    pi,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from tinybert.torch_names.dtypes import (
    bfloat16,
    bool,
    complex64,
    complex128,
    double,
    float,
    float16,
    float32,
    float64,
    half,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    short,
    uint8,
)
from tinybert.torch_names.functions import (
    all,
    allclose,
    any,
    bmm,
    cat,
    clamp,
    count_nonzero,
    dot,
    equal,
    index_select,
    is_floating_point,
    isfinite,
    isinf,
    isnan,
    logical_and,
    logical_or,
    logical_xor,
    masked_select,
    mm,
    multinomial,
    narrow,
    nonzero,
    norm,
    numel,
    outer,
    reciprocal,
    repeat_interleave,
    square,
    std,
    t,
    tile,
    unbind,
    var,
)
from tinybert.torch_names.order import (
    amax,
    amin,
    argsort,
    max,
    maximum,
    min,
    minimum,
    sort,
    topk,
)
from tinybert.torch_names.rounding import ceil, floor, round, sign
from tinybert.torch_names.trigonometry import cos, sin

concatenate = cat
clip = clamp
multiply, divide, subtract, negative, absolute = mul, div, sub, neg, abs

__all__ = [
    name
    for name, value in [*globals().items()]
    if name[0] != "_" and not isinstance(value, _Module)
]
