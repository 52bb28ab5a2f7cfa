# %% [markdown]
# # 54. What an all-reduce costs
# An all-reduce gives every rank the sum of the arrays of all ranks. Tensor parallelism needs it in
# each layer (lesson 53), data parallelism for the gradients. We build one from messages between two
# ranks, count the bytes, and predict its time.
#
# **You will be able to** write the ring algorithm, say why a rank sends less than twice its array
# whatever the number of ranks, and tell when latency decides and when bandwidth does.
#
# **You need** lesson 53 (ranks and their sums).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | p, r | | number of ranks, number of this rank |
# | n | | bytes of the array of a rank |
# | α | | latency: seconds of a message, however short |
# | β | | bandwidth: bytes in a second |

# %%
import numpy as np

from tinybert import show
from tinybert.parallel.communicator import bytes_sent
from tinybert.parallel.simulated import run

p, size = 4, 12
arrays = np.random.default_rng(0).integers(10, size=(p, size)).astype(float)
total = arrays.sum(axis=0)
n = arrays[0].nbytes

# %% [markdown]
# ## Through one rank
# The plain way: every rank sends its array to rank 0, which adds and sends the sum back. Rank 0
# sends p − 1 arrays, one after the other. With twice the ranks it takes twice as long.


# %%
def through_one(world):
    mine = arrays[world.rank].copy()
    if world.rank:
        world.send(mine, 0).wait()
        return world.recv(mine.shape, mine.dtype, 0), world.traffic["send"].bytes
    for other in range(1, p):
        mine += world.recv(mine.shape, mine.dtype, other)
    for other in range(1, p):
        world.send(mine, other).wait()
    return mine, world.traffic["send"].bytes


plain = run(p, through_one)
print("bytes sent by each rank:", [sent for _, sent in plain], " n =", n)
assert all(np.array_equal(got, total) for got, _ in plain)
assert plain[0][1] == (p - 1) * n

# %% [markdown]
# ## In a ring
# Each array is cut into p parts. Every rank sends one part at a time to the next rank, and receives
# one from the rank before it. In the first p − 1 steps a part collects a term at each rank that it
# passes. Then each rank has one finished part. In p − 1 more steps the finished parts go round.


# %%
def ring(world, log=None):
    parts = np.split(arrays[world.rank].copy(), p)
    after, before = (world.rank + 1) % p, (world.rank - 1) % p
    for step in range(2 * (p - 1)):
        out, into = (world.rank - step) % p, (world.rank - step - 1) % p
        request = world.send(parts[out], after)
        got = world.recv(parts[into].shape, arrays.dtype, before)
        request.wait()
        parts[into] = parts[into] + got if step < p - 1 else got
        if log is not None:
            log[step, world.rank] = into
    return np.concatenate(parts), world.traffic["send"].bytes


# %%
log = np.zeros((2 * (p - 1), p))
found = run(p, lambda world: ring(world, log))
names = [f"rank {r}" for r in range(p)]
show(log, "the part that each rank receives", rows=[f"step {i}" for i in range(6)], cols=names)
print("bytes sent by each rank:", [sent for _, sent in found], " n =", n)
assert all(np.array_equal(got, total) for got, _ in found)
assert all(sent == 2 * (p - 1) * n / p for _, sent in found)

# %% [markdown]
# ## Bytes do not grow with p
# A rank sends 2 (p − 1) parts of n / p bytes: 2 n (p − 1) / p, always less than 2 n. How many bytes
# does a rank send for an array of 1,000,000 bytes on 512 ranks? Round to thousands.

# %%
sent = None  # a multiple of 1000, less than 2,000,000
if sent is not None:
    assert sent == round(bytes_sent("allreduce", 1_000_000, 512), -3)
ranks = [2, 4, 8, 64, 512]
rows = [[bytes_sent("allreduce", 1, q) for q in ranks], [q - 1.0 for q in ranks]]
show(np.array(rows), "arrays sent by the busiest rank", rows=["ring", "one rank"], cols=ranks)
assert max(rows[0]) < 2

# %% [markdown]
# ## Time: α and β
# A message of m bytes takes about α + m / β seconds. So the ring takes 2 (p − 1) (α + n / (p β)).
# Messages do grow in number. For a long array n / β decides, for a short one α does. The numbers
# are those of `tinybert plan` for an A100: links inside of a node, and one adapter out of it.

# %%
inside, outside = (3.4e-6, 240e9), (14e-6, 20e9)


def seconds(n: float, p: int, alpha: float, beta: float) -> float:
    return 2 * (p - 1) * (alpha + n / (p * beta))


lengths = [1e3, 1e5, 1e7, 1e9]
times = np.array([[1e3 * seconds(n, 8, *link) for n in lengths] for link in (inside, outside)])
columns = ["1 kB", "100 kB", "10 MB", "1 GB"]
show(np.log10(times), "log10 of milliseconds, 8 ranks", rows=["inside", "outside"], cols=columns)
for name, link, row in zip(("inside", "outside"), (inside, outside), times, strict=True):
    waits = [14 * 1e3 * link[0] / t for t in row]
    print(f"{name}: ms", row.round(3), " share of latency", np.round(waits, 2))
    assert waits[0] > 0.9
    assert waits[-1] < 0.1

# %% [markdown]
# Tensor parallelism sums activations in every layer and waits for them: so its ranks are those of
# one node. The gradients of data parallelism are summed once in a step, while the backward pass
# still runs, and can cross nodes. Compare the bytes and seconds of both:
# `tinybert plan --model megatron-8.3b --gpus 512 --tensor 8`.
#
# Exercises: `ranks/ring`.
# Next: 55_the_bubble_of_a_pipeline.py.
