"""Every tolerance of the test suite, once, with the reason why it is as wide as it is and no wider.

"RMS" is the root mean square of the values that are compared; an error is measured against it,
because a small element beside large ones carries their rounding, not its own.
"""

FLOAT32_EPS = 2.0**-23  # the distance from 1 to the next float32
FLOAT64_EPS = 2.0**-52
FLOAT16_EPS = 2.0**-10

# --- an operation against torch (tests/support.py) ----------------------------------------------

# float64 against torch float64: the two differ by the order of their sums and by library functions
# good to some units in the last place, and toy sums have under a thousand terms. A wrong formula is
# off by far more.
OP_FLOAT64 = 1e-12  # of the element, plus as much of the RMS

# float32 against torch float64, in units of what torch float32 itself loses on the same inputs. A
# kernel that rounds more often than torch's is a worse kernel; half as much again is left because
# sums are taken in another order. The largest error of a few dozen elements is a matter of luck:
# the claim is about the median of some draws, and the worst of them is held to a wide bound.
OP_FLOAT32_RATIO = 1.5
OP_FLOAT32_DRAWS = 5
OP_FLOAT32_WORST = 4  # times as much
# Where torch happens to round to the very result there is no error to compare with: some units in
# the last place of the RMS are always granted (a chain of ten roundings, each half a unit, of
# elements up to three times the RMS).
OP_FLOAT32_FLOOR = 8 * FLOAT32_EPS
# Attention of many sizes in float32, by RMS errors: the geometric mean of ours divided by torch's
# was 0.87 for the output and 0.72 to 0.76 for the gradients.
ATTENTION_FLOAT32_MEAN_RATIO = 1

# --- finite differences (tinybert.gradcheck) ----------------------------------------------------

# Central differences with a step h err by h^2 f'''/6 (1e-12 for h = 1e-6) and by the rounding of f
# divided by h (1e-16 / 1e-6 = 1e-10, times the number of terms in the sum). The wrong gradients of
# the mutation test are off by a hundredth or more.
GRADCHECK_ATOL = 1e-7
GRADCHECK_RTOL = 1e-5

# --- kernels ------------------------------------------------------------------------------------

# A fused kernel against its plain formula, as a multiple of the dtype's eps and of the RMS. Both
# round a handful of times a row, in another order; sums over n terms are pairwise in NumPy and in
# CUDA's trees, which adds about log2(n) / 2 units.
KERNEL_ULPS = 32

# The same computation on another array library or device, float64: no fused kernel agrees with the
# plain one to the last bit.
DEVICE_FLOAT64 = 1e-12

# A whole model in float32 on two devices: values of order 1, sums in another order.
DEVICE_FLOAT32 = 1e-5

# --- a thousand steps of an optimizer against torch (tests/optim) -------------------------------

# float64: each step rounds a dozen times, but every gradient pulls the weights back to the minimum,
# so that an error does not outlive a few hundred steps; some units in the last place are seen. The
# usual faults of AdamW are off by a thousand times this and more, which a test shows.
OPTIM_FLOAT64 = 1e-13

# float32, measured like an operation: the error against torch float64 in units of what torch
# float32 loses over the same steps; twice, because a thousand roundings are a random walk.
OPTIM_FLOAT32_RATIO = 2
OPTIM_FLOAT32_FLOOR = 8 * FLOAT32_EPS

# --- a whole model against transformers (tests/models) ------------------------------------------

# float64: a few layers, each a few sums over at most some dozen terms and a normalization that can
# enlarge an error ten times. A wrong eps in a norm (1e-5 for 1e-12) is off by 1e-6.
MODEL_FLOAT64 = 1e-11
BATCH_INVARIANCE = 1e-5  # float32: BLAS sums in another order for another batch, never equal bits
# Gradients pass every layer twice, and the norms of the toy models enlarge them.
MODEL_GRADIENT_FLOAT64 = 1e-9
# float32: the error of a gradient against torch float64, divided by the error of torch float32, as
# a geometric mean over models. One ratio is luck (its logarithm has a standard deviation of 0.3),
# and a mean over the 24 to 72 ratios of a kind of parameter has a standard error of at most 6 %.
# Sums in another order, on six processors, moved these means between 0.8 and 1.2, and the mean
# over all parameters between 0.98 and 1.08. A relative error of 1e-5 in one kernel breaks a bound,
# which a test shows.
MODEL_FLOAT32_RATIO = 1.4
MODEL_FLOAT32_MEAN_RATIO = 1.25
# The gradient of a key's bias is 0, and what is found is rounding alone: the error of the key's
# weight is the unit, of which 0.15 to 0.22 were seen.
MODEL_FLOAT32_KEY_BIAS_RATIO = 0.5

# --- float16 (tests/ops/test_float16.py) ----------------------------------------------------------

# An operation on float16 against float64 on the same numbers: the result is rounded, which is half
# of FLOAT16_EPS at most, and so are the terms of a sum over rows and what is saved for backward.
HALF_ROUNDING = FLOAT16_EPS
