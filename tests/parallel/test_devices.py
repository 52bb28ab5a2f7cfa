"""Training on grids whose ranks compute on a double of a GPU: strict, or running CUDA C++."""

import copy
import math
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tests.strict  # noqa: F401 (registers its device)
import tinybert
from tests.gpu_double.cupy import gpu
from tests.parallel import models
from tests.parallel.models import make_model, on_grid
from tests.parallel.test_training import job, merged
from tinybert import backend
from tinybert.parallel import mpi
from tinybert.parallel.grid import Grid
from tinybert.parallel.simulated import run

GRIDS = [
    ("nemotron", {"tensor": 2, "pipeline": 2, "data": 2}, {"zero": True, "sequence": True}),
    ("megatron-pretraining", {"tensor": 2, "data": 2}, {"bucket": 3000}),
]


def check(name, grid, options, device):
    """Two steps on the grid equal those of one process on the same device, dropout included."""
    model = make_model(name).to(device)
    curve, weights = merged(on_grid(model, job(name, steps=2)))
    found, parts = merged(on_grid(model, job(name, steps=2, **options), **grid))
    np.testing.assert_allclose(found, curve, rtol=0, atol=1e-10)
    for key, array in weights.items():
        np.testing.assert_allclose(parts[key], array, rtol=0, atol=1e-10, err_msg=key)


@pytest.mark.parametrize(
    ("name", "grid", "options"), [GRIDS[0], pytest.param(*GRIDS[1], marks=pytest.mark.slow)]
)
def test_no_rank_mixes_arrays_of_its_device_and_of_the_host(name, grid, options):
    check(name, grid, options, "strict")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "grid", "options"), [*GRIDS, ("bert-relative", {"tensor": 2}, {"sequence": True})]
)
def test_the_kernels_of_a_gpu_draw_the_same_dropout_on_a_grid(name, grid, options):
    with gpu():
        check(name, grid, options, "cuda")


@pytest.mark.slow
def test_the_kernels_of_a_gpu_draw_the_same_dropout_for_texts_of_any_length(monkeypatch):
    monkeypatch.setattr(models, "T", 7)
    with gpu():
        check("megatron-causal", {"tensor": 2}, {"sequence": True}, "cuda")


LIBRARY = SimpleNamespace(SUM="sum", MAX="max")


class Threads:
    """A communicator of mpi4py whose ranks are threads, as far as groups without `send` need it."""

    def __init__(self, world):
        self.world, self.Get_rank = world, lambda: world.rank
        self.Get_size, self.allgather = lambda: world.size, world.gather_objects
        self.Barrier = world.barrier

    def bcast(self, value):
        return self.allgather(value)[0]

    def Iallreduce(self, own, total, op):
        request = self.world.iallreduce(own, op)
        return SimpleNamespace(Wait=lambda: np.copyto(total, request.wait()))

    def Split(self, color, key):
        return Threads(self.world.split(color, key))


@pytest.fixture
def nccl(monkeypatch):
    """The double of a GPU, a different one for each thread."""
    with gpu(probe=False):
        from tinybert.backend.cuda import collectives

        monkeypatch.setattr(collectives, "own_gpu", lambda: ("here", str(threading.get_ident())))
        yield collectives


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_nccl_agrees_with_numpy(nccl, dtype):
    arrays = np.random.default_rng(0).integers(-9, 9, (3, 4, 6, 5)).astype(dtype)

    def work(simulated):
        world = mpi.MPI(LIBRARY, Threads(simulated))
        own = tinybert.Tensor(arrays[world.rank], device="cuda").data
        turned = own.swapaxes(0, 1)  # not contiguous
        request, other = world.iallreduce(turned), world.allreduce(own, "max")
        results = request.wait(), other, world.allgather(turned, 1), world.reduce_scatter(own, 1)
        assert world.traffic.keys() == {"allreduce", "allgather", "reduce_scatter"}
        return [backend.to_host(array) for array in results]

    whole = arrays.astype("int64")
    for rank, (total, most, gathered, part) in enumerate(run(3, work)):
        np.testing.assert_array_equal(total, whole.sum(0).swapaxes(0, 1))
        np.testing.assert_array_equal(most, whole.max(0))
        np.testing.assert_array_equal(gathered, np.concatenate(list(whole.swapaxes(1, 2)), 1))
        np.testing.assert_array_equal(part, whole.sum(0)[:, 2 * rank : 2 * rank + 2])
        assert {total.dtype, most.dtype, gathered.dtype, part.dtype} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("gpu_of_all", "cause"), [(("here", "0"), "two ranks share a GPU"), (None, "finds no NCCL")]
)
def test_without_nccl_arrays_pass_through_the_host(nccl, monkeypatch, gpu_of_all, cause):
    monkeypatch.setattr(nccl, "own_gpu", lambda: gpu_of_all)

    def work(simulated):
        world = mpi.MPI(LIBRARY, Threads(simulated))
        array = tinybert.Tensor(np.full(2, world.rank + 1.0), device="cuda").data
        return world.allreduce(array), world.allreduce(array, "max")

    with pytest.warns(UserWarning, match=f"{cause}: arrays pass through the memory") as caught:
        results = run(2, work)
    assert len(caught) == 1
    for total, most in results:
        np.testing.assert_array_equal(backend.to_host(total), [3, 3])
        np.testing.assert_array_equal(backend.to_host(most), [2, 2])


def test_nccl_refuses_what_it_cannot_add(nccl):
    group = nccl.Collectives(1, nccl.new_identity(), 0)
    with pytest.raises(TypeError, match="NCCL cannot add arrays of bool"):
        group.allreduce(tinybert.Tensor(np.ones(3, bool), device="cuda").data, "sum")


@pytest.mark.slow
@pytest.mark.parametrize("grid", [{"tensor": 2, "data": 2}, {"data": 4}])
def test_training_by_nccl_equals_one_process(grid, monkeypatch):
    name, options = "nemotron", {"zero": True, "sequence": "tensor" in grid, "steps": 2}
    with gpu():
        from tinybert.backend.cuda import collectives

        monkeypatch.setattr(collectives, "own_gpu", lambda: ("here", str(threading.get_ident())))
        model = make_model(name).to("cuda")
        curve, weights = merged(on_grid(model, job(name, steps=2)))
        models = [copy.deepcopy(model) for _ in range(math.prod(grid.values()))]

        def work(simulated):
            world = mpi.MPI(LIBRARY, Threads(simulated))
            return job(name, **options)(models[world.rank], Grid(**grid, world=world))

        found, parts = merged(run(len(models), work))
    np.testing.assert_allclose(found, curve, rtol=0, atol=1e-10)
    for key, array in weights.items():
        np.testing.assert_allclose(parts[key], array, rtol=0, atol=1e-10, err_msg=key)


def test_each_process_of_a_computer_sees_its_gpu(monkeypatch):
    local = SimpleNamespace(Get_rank=lambda: 2)
    comm = SimpleNamespace(Split_type=lambda kind: local, Get_rank=lambda: 6, Get_size=lambda: 8)
    world = mpi.MPI(SimpleNamespace(COMM_TYPE_SHARED=1), comm)
    for given, expected in ((None, "2"), ("4,5,7,9", "7"), ("3,1", "3"), ("", "")):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        mpi.choose_gpu(world)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
