"""Training on grids whose ranks compute on a double of a GPU: strict, or running CUDA C++."""

import numpy as np
import pytest

import tests.strict  # noqa: F401 (registers its device)
from tests.gpu_double.cupy import gpu
from tests.parallel.models import make_model, on_grid
from tests.parallel.test_training import job, merged

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
