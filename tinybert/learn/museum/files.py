"""Files that load without an error and hold other numbers than the model had."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from tinybert.formats.frameworks import FrameworkCheckpoint
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import largest_difference, must_agree, random
from tinybert.learn.patches import Patch
from tinybert.models.loading import load_weights
from tinybert.nn import Module, Parameter
from tinybert.weights import load_checkpoint, save_file
from tinybert.weights.dtypes import FORMATS, Format
from tinybert.weights.folder import open_checkpoint
from tinybert.weights.safetensors import _write as right_write


def _stored(tensors: Mapping[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """Save tensors, and return what is read back."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors", **options)
        found = load_checkpoint(Path(folder) / "model.safetensors")
        return {name: np.array(tensor) for name, tensor in found.items()}


# --- arrays that are not contiguous ---------------------------------------------------------------


def _write(file: IO[bytes], name: str, array: Any, fmt: Format) -> None:
    """Write the memory of an array as it is, in whatever order that may be."""
    right_write(file, name, array.ravel(order="K"), fmt)


_MATRIX = np.arange(6, dtype="float32").reshape(2, 3)


def stored_transpose() -> str:
    """Save the transpose of [[0, 1, 2], [3, 4, 5]], and read its first row."""
    row = _stored({"w": _MATRIX.T})["w"][0]
    return " ".join(f"{x:g}" for x in row)


def every_layout_survives() -> None:
    """An array is read back as it was, whatever its layout in memory."""
    for array in (_MATRIX, _MATRIX.T, np.asfortranarray(_MATRIX)):
        must_agree(_stored({"w": array})["w"], array, "the file holds another matrix", 0.0)


def fresh_arrays_survive() -> None:
    """A fresh array is read back as it was, and a transpose has the right shape."""
    must_agree(_stored({"w": _MATRIX})["w"], _MATRIX, "the file holds another matrix", 0.0)
    assert _stored({"w": _MATRIX.T})["w"].shape == (3, 2), "wrong shape"


RAW_MEMORY = Bug(
    name="strided-save",
    title="a transpose that is saved untransposed",
    mistake="The memory of an array is written as it is, also where the array is a transpose.",
    patches=(Patch("tinybert.weights.safetensors._write", _write),),
    measured="first row of a transpose that was saved, 0 3 if it is right",
    symptom=stored_transpose,
    check=every_layout_survives,
    fooled=fresh_arrays_survive,
    right="flat = np.ascontiguousarray(array).reshape(-1)",
    story=(
        "safetensors 0.8.0 became faster by handing over a pointer to the memory. The authors of "
        "model2vec, who save what scikit-learn's PCA returns, in Fortran order, found in August "
        "2026 that their saved models had become useless: same shape, no error, other numbers. "
        "MLX had had the same bug in 2024. Save a transpose and read it back."
    ),
    links=(
        "https://github.com/safetensors/safetensors/issues/825",
        "https://github.com/ml-explore/mlx/issues/369",
    ),
)

# --- bfloat16 -------------------------------------------------------------------------------------


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Cut the lower half of the bits off."""
    bits = values.astype(np.float32, copy=False).view(np.uint32)
    return (bits >> 16).astype("<u2")


def _relative_errors() -> np.ndarray:
    numbers = 1 + np.random.default_rng(0).random(2000).astype("float32")
    return _stored({"w": numbers}, dtype="bfloat16")["w"] / numbers - 1


def mean_error() -> str:
    """Save 2,000 numbers from 1 to 2 as bfloat16."""
    return f"{_relative_errors().mean():.4f}"


def errors_have_no_direction() -> None:
    """Rounding to bfloat16 makes as many numbers larger as smaller."""
    share = float((_relative_errors() > 0).mean())
    assert 0.45 < share < 0.55, f"{share:.0%} of the numbers became larger, not half of them"


def every_number_is_near() -> None:
    """Every number is kept to 1 %."""
    assert np.abs(_relative_errors()).max() < 0.01, "a number is off by more than 1 %"


CUT = Bug(
    name="bf16-cut-not-rounded",
    title="numbers that all become smaller",
    mistake="A float32 becomes a bfloat16 by dropping 16 bits, without rounding.",
    patches=(
        Patch(
            "tinybert.weights.safetensors.FORMATS",
            {**FORMATS, "BF16": replace(FORMATS["BF16"], narrow=to_bfloat16)},
        ),
    ),
    measured="mean relative error of 2,000 numbers saved as bfloat16",
    symptom=mean_error,
    check=errors_have_no_direction,
    fooled=every_number_is_near,
    right="rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16",
    wrong=to_bfloat16,
    story=(
        "bits >> 16 looks like the definition of bfloat16. Each number changes by less than 1 "
        "%, but all towards zero, and such errors do not cancel. tinygrad, tt-metal of "
        "Tenstorrent and the database Groonga had it until 2025 or 2026. The author of a small "
        "engine found it because an RMS norm gave 0.9972 where it must give 1, at every layer. "
        "Look at the sign of the errors, not only at their size."
    ),
    links=(
        "https://github.com/mmastrac/diffgemma/pull/18",
        "https://github.com/tenstorrent/tt-metal/pull/19882",
        "https://github.com/tinygrad/tinygrad/pull/11848",
    ),
)

# --- names ----------------------------------------------------------------------------------------


def _renamed(name: str) -> str:
    """Rename gamma and beta wherever these letters occur."""
    return name.replace("gamma", "weight").replace("beta", "bias")


class _Block(Module):
    """A block with a parameter called gamma, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = Parameter(np.zeros(2, "float32"))


def _missing(stored: str, block: Module) -> list[str]:
    """Load a file with one tensor into a block; return which parameters were not found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({stored: np.ones(2, "float32")}, path)
        with open_checkpoint(path) as checkpoint:
            return load_weights(block, checkpoint, "the file", "base", False)[0].missing_keys


class _Norm(Module):
    """A block with a LayerNorm, whose weight old files call gamma."""

    def __init__(self) -> None:
        super().__init__()
        self.LayerNorm = Module()
        self.LayerNorm.weight = Parameter(np.zeros(2, "float32"))


def loaded_gamma() -> str:
    """Load a tensor called gamma, which holds ones, into a parameter called gamma."""
    block = _Block()
    _missing("gamma", block)
    return f"{block.gamma.numpy()[0]:g}"


def own_names_are_found() -> None:
    """A parameter is found in a file under its own name."""
    missing = _missing("gamma", _Block())
    assert not missing, f"not found in the file, although it is there: {', '.join(missing)}"


def old_names_are_found() -> None:
    """LayerNorm.gamma of an old BERT is found as LayerNorm.weight."""
    missing = _missing("LayerNorm.gamma", _Norm())
    assert not missing, f"not found in the file: {', '.join(missing)}"


GAMMA = Bug(
    name="gamma-renamed-by-substring",
    title="parameters that are not loaded for their name",
    mistake="Old names of BERT, gamma and beta, are replaced in the names of all models.",
    patches=(Patch("tinybert.models.loading._renamed", _renamed),),
    measured="parameter gamma after loading a file where it is 1",
    symptom=loaded_gamma,
    check=own_names_are_found,
    fooled=old_names_are_found,
    story=(
        "The first BERT calls the weights of LayerNorm gamma and beta. To load it, transformers "
        "replaced these letters in every name of every model, until 2025. Users of ConvNeXt V2, "
        "ChatTTS and SAM 2, which have a parameter gamma of their own, found it unloaded; a "
        "warning that few read said so. Special cases need a narrow condition: here the whole "
        "end of a name."
    ),
    links=(
        "https://github.com/huggingface/transformers/pull/35615",
        "https://github.com/2noise/ChatTTS/issues/732",
        "https://github.com/huggingface/transformers/pull/23122",
    ),
)

# --- kernels of other frameworks ------------------------------------------------------------------


def transpose_by_shape(self: FrameworkCheckpoint, name: str) -> np.ndarray:
    """Transpose a kernel if its shape shows that it must be."""
    stored, kernel = self._location(name)
    array = self._reader[stored]
    return array.T if kernel and array.shape[0] != array.shape[1] else array


def _from_flax(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Save the kernel of a Flax model, (in, out); return it, and the weight that is loaded."""
    kernel = random(rows, columns).astype("float32")
    tensors = {"encoder.layer.0.output.dense.kernel": kernel}
    (weight,) = _stored(tensors, metadata={"format": "flax"}).values()
    return kernel, weight


def difference_of_a_square_kernel() -> str:
    """Load the kernel (3, 3) of a dense layer in Flax."""
    kernel, weight = _from_flax(3, 3)
    return f"{largest_difference(weight, kernel.T):.1g}"


def square_kernels_are_transposed() -> None:
    """The weight of a dense layer is the transposed kernel of Flax, also if it is square."""
    kernel, weight = _from_flax(3, 3)
    must_agree(weight, kernel.T, "the kernel was not transposed", 0.0)


def oblong_kernels_are_transposed() -> None:
    """A kernel (3, 5) becomes a weight (5, 3)."""
    kernel, weight = _from_flax(3, 5)
    must_agree(weight, kernel.T, "the kernel was not transposed", 0.0)


SQUARE = Bug(
    name="square-kernel-untransposed",
    title="square matrices that look transposed",
    mistake="A kernel is transposed if its shape does not fit; a square one always fits.",
    patches=(
        Patch("tinybert.formats.frameworks.FrameworkCheckpoint.__getitem__", transpose_by_shape),
    ),
    measured="error of a square kernel from Flax",
    symptom=difference_of_a_square_kernel,
    check=square_kernels_are_transposed,
    fooled=oblong_kernels_are_transposed,
    story=(
        "TensorFlow and Flax store a dense layer as (in, out), PyTorch as (out, in). The shape "
        "tells most of them apart, but the queries, keys and values of BERT are square. vLLM "
        "guessed by the shape for weights in 8 bits, and square ones were skipped without a "
        "word; a contributor found it in 2026, and the new tests have a matrix of 4096 x 4096. "
        "In tests, let all sizes differ, but for one test where two are equal."
    ),
    links=("https://github.com/vllm-project/vllm/pull/44113",),
)

BUGS = (RAW_MEMORY, CUT, GAMMA, SQUARE)
