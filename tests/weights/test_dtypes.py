"""Every number format of a safetensors file, exhaustively for the narrow ones, against torch."""

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tinybert.weights import CheckpointError, SafetensorsFile, load_file, save_file

NARROW_FLOATS = {
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
}
NATIVE = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "c8", "?"]


def same(ours, theirs):
    """Equal to the last bit, where any NaN equals any other."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    kept = [np.ascontiguousarray(np.where(nan, 0, a)).view(np.uint8) for a in (ours, theirs)]
    np.testing.assert_array_equal(*kept)


def raw_file(path, dtype, shape, data):
    header = f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{len(data)}]}}}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + data)
    return path


@pytest.mark.parametrize("name", NARROW_FLOATS)
def test_every_code_of_a_narrow_float_has_the_value_that_torch_gives(name, tmp_path):
    storage = torch.uint8 if name.startswith("F8") else torch.uint16
    codes = torch.arange(2 ** (8 * storage.itemsize)).to(storage)
    path = raw_file(tmp_path / "w.safetensors", name, [len(codes)], codes.numpy().tobytes())
    expected = codes.view(NARROW_FLOATS[name])
    ours = load_file(path)["a"]
    if name == "F16":
        same(ours, expected.numpy())
    else:
        same(ours, expected.float().numpy())


@pytest.mark.parametrize("dtype", NATIVE)
def test_native_formats_pass_both_ways(dtype, tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (2, 3, 11, np.dtype(dtype).itemsize), dtype=np.uint8)
    array = (array % 2 == 1)[..., 0] if dtype == "?" else array.view(dtype)[..., 0]
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    save_file({"a": array}, ours)
    safetensors.numpy.save_file({"a": np.ascontiguousarray(array)}, theirs)
    for path, read in [
        (ours, safetensors.numpy.load_file),
        (theirs, load_file),
        (ours, load_file),
    ]:
        loaded = read(path)["a"]
        assert loaded.dtype == array.dtype
        assert loaded.tobytes() == array.tobytes()
    assert safetensors.torch.load_file(ours)["a"].numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_files_of_torch_load(name, tmp_path):
    tensor = torch.randn(2, 3, generator=torch.manual_seed(0)).to(NARROW_FLOATS[name])
    safetensors.torch.save_file({"a": tensor}, tmp_path / "w.safetensors")
    with SafetensorsFile(tmp_path / "w.safetensors") as file:
        assert file.info("a") == (name, (2, 3), tensor.nbytes)
        same(file["a"], tensor.float().numpy())


@pytest.mark.parametrize(("name", "dtype"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_saving_in_half_precision_rounds_as_torch_does(name, dtype, source, tmp_path):
    bits = np.random.default_rng(1).integers(0, 2**32, 20_000, dtype=np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000  # half way between two bfloat16
    values = np.concatenate([bits, ties]).view(np.float32)
    with np.errstate(invalid="ignore"):
        values = values[~(np.abs(values) > 60_000)] if name == "F16" else values
        values = values[~(np.abs(values) >= 3.39e38) | np.isinf(values)].astype(source)
    save_file({"a": values, "ids": np.arange(3)}, tmp_path / "w.safetensors", dtype=name)
    loaded = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert loaded["a"].dtype == dtype
    assert loaded["ids"].dtype == torch.int64
    same(loaded["a"].float().numpy(), torch.from_numpy(values).to(dtype).float().numpy())


@pytest.mark.parametrize(("name", "value"), [("F16", 1e5), ("BF16", 3.4e38), ("F32", 1e300)])
def test_saving_refuses_to_turn_a_number_into_infinity(name, value, tmp_path):
    dtype = np.float64 if name == "F32" else np.float32
    array = np.array([1.0, np.inf, value], dtype)
    with pytest.raises(ValueError, match=r"'mask' has values beyond the range"):
        save_file({"mask": array}, tmp_path / "w.safetensors", dtype=name)
    assert list(tmp_path.iterdir()) == []
    save_file({"mask": array[:2]}, tmp_path / "w.safetensors", dtype=name)


def test_any_nonzero_bool_byte_is_true(tmp_path):
    path = raw_file(tmp_path / "w.safetensors", "BOOL", [4], b"\x00\x01\x02\xff")
    loaded = load_file(path)["a"]
    assert loaded.sum() == 3
    np.testing.assert_array_equal(loaded.view(np.uint8), [0, 1, 1, 1])


@pytest.mark.parametrize("name", ["F4", "F6_E2M3", "F6_E3M2"])
def test_packed_formats_are_listed_but_not_read(name, tmp_path):
    path = raw_file(tmp_path / "w.safetensors", name, [8], bytes(4 if name == "F4" else 6))
    with SafetensorsFile(path) as file:
        assert file.info("a").dtype == name
        with pytest.raises(CheckpointError, match=f"'a' is {name}"):
            file["a"]


@pytest.mark.parametrize("dtype", ["c16", "O", "U3", "M8[s]", "V2", "g"])
def test_saving_names_an_array_that_the_format_cannot_hold(dtype, tmp_path):
    with pytest.raises(TypeError, match="'bad' has dtype"):
        save_file({"bad": np.zeros(2, dtype)}, tmp_path / "w.safetensors")
