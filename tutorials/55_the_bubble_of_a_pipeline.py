# %% [markdown]
# # 55. The bubble of a pipeline
# Pipeline parallelism gives each rank other layers: a stage. The first stage passes its output to
# the second. While one stage works on a batch, the others wait. So the batch is cut into
# micro-batches. We draw the schedule, and measure what waiting remains: the bubble.
#
# **You will be able to** draw the schedules GPipe and 1F1B, derive the bubble (p − 1) / m, and say
# what 1F1B saves, and what it does not.
#
# **You need** lesson 53 (ranks).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | p, m | | number of stages, number of micro-batches |
# | v | | parts of the model on each stage (interleaved schedule) |
# | orders | | for each stage, its work in order: +k is forward of micro-batch k, −k backward |

# %%
import numpy as np

from tinybert import show

FORWARD, BACKWARD = 1, 2  # units of time: a backward pass is twice the work

# %% [markdown]
# ## A schedule and its times
# A forward pass needs the output of the stage before it; a backward pass needs the gradient of the
# stage after it. A stage does one thing at a time, in its order, as early as it can.


# %%
def times(orders: list[list[int]]) -> np.ndarray:
    """Return what each stage does in each unit of time: +k, −k, or 0 for waiting."""
    p, done, rows = len(orders), {}, [[] for _ in orders]
    todo = [list(order) for order in orders]
    while any(todo):
        for stage, order in enumerate(todo):
            while order:
                work = order[0]
                source = stage - 1 if work > 0 else stage + 1
                needs = (source, work) if 0 <= source < p else (stage, abs(work))
                start = done.get(needs, 0 if needs == (stage, work) else None)
                if start is None:
                    break  # what it needs is not there yet
                row = rows[stage]
                row += [0] * (start - len(row)) + [work] * (FORWARD if work > 0 else BACKWARD)
                done[stage, work] = len(row)
                order.pop(0)
    length = max(map(len, rows))
    return np.array([row + [0] * (length - len(row)) for row in rows])


# %%
def draw(title: str, table: np.ndarray) -> None:
    """Print a line for each stage: micro-batches forward as 1, 2, ..., backward as a, b, ..."""
    print(title)
    for stage, row in enumerate(table):
        signs = "".join("." if k == 0 else str(k) if k > 0 else chr(96 - k) for k in row)
        print(f"  stage {stage}  {signs}")


draw("two stages, one micro-batch", times([[1, -1], [1, -1]]))
assert times([[1, -1], [1, -1]]).tolist() == [[1, 0, 0, 0, -1, -1], [0, 1, -1, -1, 0, 0]]


# %% [markdown]
# ## One micro-batch, then many
# GPipe runs all forward passes, then all backward passes. With one micro-batch only one stage works
# at a time.


# %%
def gpipe(p: int, m: int) -> list[list[int]]:
    forward = list(range(1, m + 1))
    return [forward + [-k for k in forward] for _ in range(p)]


def bubble(table: np.ndarray) -> float:
    """Return the time that a stage waits, relative to its work."""
    work = np.count_nonzero(table) / len(table)
    return table.shape[1] / work - 1


p = 4
for m in (1, 4):
    table = times(gpipe(p, m))
    draw(f"GPipe, p = {p}, m = {m}: {bubble(table):.2f} of the work is waiting", table)
assert bubble(times(gpipe(p, 1))) == 3.0

# %% [markdown]
# ## The formula
# The last stage starts after p − 1 forward passes, and after its last backward pass p − 1 more are
# to come. So a step takes (m + p − 1) (forward + backward), and the work is m (forward + backward):
# the bubble is (p − 1) / m. What is it for 8 stages and 64 micro-batches?

# %%
fraction = None  # a number with four digits after the point
if fraction is not None:
    assert abs(fraction - bubble(times(gpipe(8, 64)))) < 1e-4
counts = [1, 2, 4, 8, 16, 32]
found = np.array([[bubble(times(gpipe(p, m))) for m in counts] for p in (2, 4, 8)])
show(found, "bubble", rows=["p = 2", "p = 4", "p = 8"], cols=[f"m = {m}" for m in counts])
formula = np.array([[(p - 1) / m for m in counts] for p in (2, 4, 8)])
print("largest difference to (p - 1) / m:", np.abs(found - formula).max())
assert np.allclose(found, formula)

# %% [markdown]
# ## 1F1B: the same bubble, less memory
# GPipe keeps the activations of all m micro-batches until the backward passes. 1F1B starts with
# p − 1 − stage forward passes, then alternates: one forward, one backward. A stage then keeps at
# most p − stage micro-batches.


# %%
def one_forward_one_backward(p: int, m: int) -> list[list[int]]:
    orders = []
    for stage in range(p):
        first = min(p - 1 - stage, m)
        order = list(range(1, first + 1))
        for k in range(m - first):
            order += [first + k + 1, -(k + 1)]
        orders.append(order + [-k for k in range(m - first + 1, m + 1)])
    return orders


def held(order: list[int]) -> int:
    """Return for how many micro-batches a stage keeps activations at most."""
    return int(np.cumsum(np.sign(order)).max())


# %%
p, m = 4, 8
ours = times(one_forward_one_backward(p, m))
draw("1F1B", ours)
kept = [[held(order) for order in make(p, m)] for make in (gpipe, one_forward_one_backward)]
print("bubble:", bubble(ours), " GPipe's:", bubble(times(gpipe(p, m))))
stages = [f"stage {i}" for i in range(p)]
show(np.array(kept), "micro-batches kept", rows=["GPipe", "1F1B"], cols=stages)
assert np.isclose(bubble(ours), (p - 1) / m)
assert kept == [[m] * p, [4, 3, 2, 1]]

# %% [markdown]
# So 1F1B allows a larger m, and that makes the bubble small. The interleaved schedule gives each
# rank v parts of the model, v times shorter: a bubble of (p − 1) / (v m), for v times the messages
# (Narayanan et al. 2021, arXiv:2104.04473, figures 3 and 4). See `tinybert plan --virtual-stages`.
#
# Exercises: `ranks/schedule`.
# This is the last lesson.
