"""Files written by torch: read bit for bit as torch.load reads them."""

import argparse
import json
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
import transformers

from tinybert.formats.torch.file import TorchFile, read_torch
from tinybert.formats.torch.pickle import Record
from tinybert.formats.torch.tensor import LazyTensor
from tinybert.weights import CheckpointError, open_checkpoint

FORMS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e5m2fnuz",
    "float8_e4m3fnuz",
    "float8_e8m0fnu",
]
WIDENED = ("bfloat16", "float8")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


@pytest.fixture(params=FORMS)
def save(request, path):
    def write(value, **options):
        torch.save(value, path, **FORMS[request.param], **options)
        return path

    return write


def numpy_of(tensor):
    tensor = tensor.detach()
    return (tensor.float() if str(tensor.dtype)[6:].startswith(WIDENED) else tensor).numpy()


def assert_same_bits(ours, theirs):
    dtype = str(theirs.dtype)
    theirs = numpy_of(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if dtype.startswith("torch.float8"):  # whose NaN has one code here and others there
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.signbit(ours[ours == 0]), np.signbit(theirs[theirs == 0]))
    else:
        assert ours.tobytes() == theirs.tobytes()  # tells NaN from NaN, and 0 from -0


def assert_as_torch_loads(path, theirs=None):
    if theirs is None:
        theirs = torch.load(path, weights_only=True, map_location="cpu")
    with TorchFile(path) as ours:
        assert list(ours) == list(theirs)
        for name, tensor in theirs.items():
            assert_same_bits(ours[name], tensor)
            assert not ours[name].flags.writeable
            for out in (np.empty(tensor.shape, ours[name].dtype, order) for order in "CF"):
                ours.read_into(name, out)
                assert out.tobytes() == ours[name].tobytes()
            if tensor.dtype.is_floating_point:
                for out in (np.empty(tensor.shape, np.float64, order) for order in "CF"):
                    ours.read_into(name, out)
                    np.testing.assert_array_equal(out, ours[name])


def random_bits(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return torch.from_numpy(rng.random(shape) < 0.5)
    size = torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    bits = torch.from_numpy(rng.integers(0, 256, (*shape[:-1], shape[-1] * size), np.uint8))
    return bits.view(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_number(dtype, save):
    tensors = {"a": random_bits(dtype, (3, 7)), "b": random_bits(dtype, (300_000,), 1)}
    path = save(tensors)
    # Types without a storage of their own (torch's "v3") torch itself cannot read back.
    legacy = path.read_bytes().startswith(b"\x80")
    unreadable = legacy and dtype.startswith(("uint16", "uint32", "uint64", "float8"))
    assert_as_torch_loads(path, tensors if unreadable else None)


W = torch.arange(2 * 3 * 11, dtype=torch.float32).reshape(2, 3, 11) / 7
LAYOUTS = {
    "transposed": W.permute(2, 0, 1),
    "strided": W[:, :, 1::2],
    "an offset": W[1, 2, 4:],
    "one number inside": W[1, 2, 4],
    "expanded": W[:, :1].expand(2, 5, 11),
    "overlapping": W.as_strided((5, 4), (3, 2), 7),
    "a size of one": W[:, 1:2],
    "scalar": torch.tensor(3.5),
    "empty": W[:, :0],
    "empty storage": torch.empty(0, 3),
    "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
    "more than a chunk": torch.arange(700_000.0).reshape(700, 1000).T,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16])
def test_every_window_into_a_storage(dtype, save):
    tensors = {}
    for name, tensor in LAYOUTS.items():
        storage = tensor.as_strided((tensor.untyped_storage().nbytes() // 4,), (1,), 0)
        window = tensor.size(), tensor.stride(), tensor.storage_offset()
        tensors[name] = storage.nan_to_num(posinf=1e4).to(dtype).as_strided(*window)
    tensors["nan"] = LAYOUTS["nan"].to(dtype)
    assert_as_torch_loads(save(tensors))


def test_tied_weights_and_slices_share_a_storage(save):
    buffer = torch.randn(50, 4)
    tensors = {"a": buffer, "b": buffer, "c": buffer[7:9], "d": buffer.T, "e": buffer[:, 2]}
    path = save(tensors)
    assert path.stat().st_size < 2 * 800 + 2500  # saved once
    assert_as_torch_loads(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle(protocol, save):
    layers = [torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Embedding(4, 3)]
    tensors = torch.nn.Sequential(*layers).state_dict()
    # Protocols over 2 have opcodes that torch's own restricted reader does not know.
    assert_as_torch_loads(save(tensors, pickle_protocol=protocol), tensors)


def test_parameters_are_tensors(save):
    weight = torch.nn.Parameter(torch.randn(2, 3, dtype=torch.bfloat16))
    noted = torch.nn.Parameter(torch.randn(3), requires_grad=False)
    noted.origin = "a note"
    module = torch.nn.Linear(3, 2)
    tensors = OrderedDict(w=weight, noted=noted, **module.state_dict(keep_vars=True))
    assert_as_torch_loads(save(tensors))


def test_many_tensors_and_long_names(save):
    tensors = {f"{'layer.' * 60}{i}.größe": torch.full((2,), float(i)) for i in range(700)}
    assert_as_torch_loads(save(tensors))


def test_the_whole_object_with_what_lies_beside_the_weights(save):
    random_state = np.random.RandomState(0).get_state()
    value = {
        "args": argparse.Namespace(hidden_size=8, ratio=0.5, name="é", params_dtype=torch.half),
        "iteration": 2**40,
        "nothing": (None, True, False, -1, [], (), {}),
        "model": {"language_model": {"encoder": OrderedDict(a=torch.ones(3))}},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
        "rng": {"numpy": random_state, "torch": torch.get_rng_state()},
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "bytes": b"raw",
    }
    ours = read_torch(save(value))
    assert list(ours) == list(value)
    args = ours["args"]
    assert isinstance(args, Record)
    assert args.name == "argparse.Namespace"
    assert {k: v for k, v in args.state.items() if k != "params_dtype"} == {
        "hidden_size": 8, "ratio": 0.5, "name": "é"
    }  # fmt: skip
    assert str(args.state["params_dtype"]) == "torch.float16"
    for key in ("iteration", "nothing"):
        assert ours[key] == value[key]
    assert ours["size"] == (2, 3)
    assert ours["optimizer"]["param_groups"] == [{"lr": 1e-4}]
    tensor = ours["model"]["language_model"]["encoder"]["a"]
    assert isinstance(tensor, LazyTensor)
    assert tensor.info == ("F32", (3,), 12)
    np.testing.assert_array_equal(tensor.read(), np.ones(3))
    out = np.zeros(3)
    tensor.read_into(out)
    np.testing.assert_array_equal(out, np.ones(3))
    np.testing.assert_array_equal(ours["rng"]["torch"].read(), value["rng"]["torch"])
    assert ours["rng"]["numpy"][0] == "MT19937"
    assert isinstance(ours["rng"]["numpy"][1], Record)


TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}


def test_a_state_dict_is_unwrapped_where_there_is_no_doubt(save):
    for key in ("state_dict", "model_state_dict", "model", "module"):
        path = save({key: TENSORS, "epoch": 3, "note": "x", "optimizer": {"state": {}}})
        with TorchFile(path) as file:
            assert list(file) == ["a", "b"]
            assert "a" in file
            assert "epoch" not in file
            assert len(file) == 2
            with pytest.raises(KeyError, match="has no tensor 'epoch'"):
                file["epoch"]
    assert list(TorchFile(save({**TENSORS, "epoch": 3}))) == ["a", "b"]
    assert list(TorchFile(save({}))) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"state_dict": TENSORS, "model": TENSORS}, "more than once: 'state_dict', 'model'"),
        ({"state_dict": TENSORS, "step": torch.ones(1)}, "more than once: the top level, 's"),
        ({"weights": TENSORS, "epoch": 1}, "no named tensors, only 'weights', 'epoch'"),
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a LazyTensor"),
        (3, "holds a int"),
        ({0: torch.ones(1)}, "strings as names of tensors, got 0"),
    ],
)
def test_what_is_no_state_dict_is_refused(value, words, save):
    path = save(value)
    with pytest.raises(CheckpointError, match=words) as caught:
        TorchFile(path)
    assert caught.value.path == str(path)


class Subclass(torch.Tensor):
    pass


def exotic(kind):
    if kind == "quantised":
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    if kind == "sparse":
        return torch.eye(3).to_sparse()
    if kind == "sparse rows":
        return torch.eye(3).to_sparse_csr()
    if kind == "nested":
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    if kind == "complex":
        return torch.ones(3, dtype=torch.complex64)
    if kind == "attributes":
        tensor = torch.ones(3)
        tensor.note = 1
        return tensor
    if kind == "no values":
        return torch.ones(3, device="meta")
    return torch.ones(3).as_subclass(Subclass)


@pytest.mark.parametrize(
    ("kind", "words"),
    {
        "quantised": "quantised",
        "sparse": "a sparse tensor",
        "sparse rows": "a sparse tensor",
        "nested": "a nested tensor",
        "complex": "complex numbers",
        "attributes": "a tensor subclass",
        "no values": "a tensor without values",
        "subclass": "a tensor subclass",
    }.items(),
)
def test_tensors_of_other_kinds_are_refused_by_name(kind, words, save):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save({"a": exotic(kind)})
    with pytest.raises(CheckpointError, match=rf"refers to torch\.\w+(\.\w+)*: .*{words}"):
        TorchFile(path)


def test_negated_views_are_refused(save):
    with pytest.raises(CheckpointError, match="metadata"):
        TorchFile(save({"a": torch._neg_view(torch.ones(2))}))


def test_whole_models_and_programs_are_refused(save, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = save(torch.nn.Linear(2, 3))
    with pytest.raises(CheckpointError, match=r"whole model.*state_dict"):
        TorchFile(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        TorchFile(path)


def rezip(path, change=lambda name, data: data, method=zipfile.ZIP_STORED, top="archive"):
    with zipfile.ZipFile(path) as old:
        members = {name.split("/", 1)[1]: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", method) as new:
        for name, data in members.items():
            new.writestr(f"{top}/{name}", change(name, data))


def test_a_zip_packed_by_others(path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        torch.save({**TENSORS, "zeros": torch.zeros(300_000), "w": torch.randn(400_000)}, path)
        rezip(path, method=method, top="any name é")
        assert_as_torch_loads(path)


def test_big_endian_storages(path):
    tensors = {"a": torch.randn(4, 3), "h": torch.randn(5).half(), "s": torch.arange(6)[::2]}
    tensors["b"] = torch.randn(700_000).bfloat16()
    torch.save(tensors, path)
    widths = {f"data/{i}": w for i, w in enumerate([4, 2, 8, 2])}

    def swap(name, data):
        width = widths.get(name)
        swapped = np.frombuffer(data, f"u{width}").byteswap().tobytes() if width else data
        return b"big" if name == "byteorder" else swapped

    rezip(path, swap)
    assert_as_torch_loads(path)


def test_a_file_without_checksums(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(TENSORS, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert_as_torch_loads(path)


@pytest.mark.parametrize("inner", FORMS)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_checkpoint_within_a_zip_of_nvidia(inner, method, tmp_path):
    torch.save({"model": TENSORS}, tmp_path / "model_optim_rng.pt", **FORMS[inner])
    packed = tmp_path / "megatron_bert_345m.zip"
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("release/", "")
        archive.writestr("latest_checkpointed_iteration.txt", "release")
        archive.write(tmp_path / "model_optim_rng.pt", "release/mp_rank_00/model_optim_rng.pt")
    tensors = read_torch(packed)["model"]
    for name, tensor in TENSORS.items():
        assert_same_bits(tensors[name].read(), tensor)


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertForPreTraining(config)


@pytest.mark.parametrize("limit", ["5GB", "3KB"])
def test_what_transformers_saves(limit, tmp_path):
    model = bert()
    model.save_pretrained(tmp_path, safe_serialization=False, max_shard_size=limit)
    expected = model.state_dict()
    for source in (tmp_path, next(tmp_path.glob("pytorch_model.bin*"))):
        with open_checkpoint(source) as reader:
            assert reader.format == ("PyTorch" if limit == "5GB" else "sharded PyTorch")
            assert set(reader) == set(expected)
            for name, tensor in expected.items():
                assert reader.info(name).shape == tuple(tensor.shape)
                assert_same_bits(reader[name], tensor)
                out = np.empty(tensor.shape, np.float64)
                reader.read_into(name, out)
                np.testing.assert_array_equal(out, numpy_of(tensor))
    if limit == "3KB":
        assert len(list(tmp_path.glob("pytorch_model-*-of-*.bin"))) > 1


def test_an_index_of_pytorch_shards_stays_in_its_folder(tmp_path):
    bert().save_pretrained(tmp_path, safe_serialization=False, max_shard_size="3KB")
    index = tmp_path / "pytorch_model.bin.index.json"
    content = json.loads(index.read_text())
    name, shard = next(iter(content["weight_map"].items()))
    for lie in (f"../{tmp_path.name}/{shard}", str(tmp_path / shard), f"x\\{shard}", "config.json"):
        content["weight_map"][name] = lie
        index.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match="not a plain file name"):
            open_checkpoint(tmp_path)


def test_opening_reads_no_tensor_and_reading_takes_no_second_copy(save):
    tensor = torch.randn(1 << 22)
    path = save(
        {"w": tensor, "h": tensor.half(), "b": tensor.bfloat16(), "t": tensor.view(2, -1).T}
    )
    TorchFile(path).close()  # whatever the first call imports
    aligned = path.read_bytes().startswith(b"PK")
    tracemalloc.start()
    with TorchFile(path) as file:
        opened = tracemalloc.get_traced_memory()[1]
        view = file["w"]
        mapped = tracemalloc.get_traced_memory()[1]
        out = np.empty(1 << 22, np.float32)
        for name in ("w", "h", "b"):
            file.read_into(name, out)
        file.read_into("t", out.reshape(-1, 2))
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(out.reshape(-1, 2), tensor.view(2, -1).T)
    assert opened < 200_000
    if aligned:
        assert mapped < 1_500_000  # a buffer for the checksum
    copy = 0 if aligned else tensor.nbytes  # of what does not begin at a multiple of four
    assert peak < out.nbytes + 2 * copy + 5_000_000
    assert_same_bits(view, tensor)  # the array outlives the file


def test_wrong_arguments_name_the_tensor(save):
    with TorchFile(save(TENSORS)) as file:
        with pytest.raises(
            ValueError, match=r"tensor 'a': the tensor has shape \(2, 3\), out has \(3, 2\)"
        ):
            file.read_into("a", np.empty((3, 2)))
        with pytest.raises(
            TypeError, match="tensor 'a': the tensor is F32, which does not cast to int64"
        ):
            file.read_into("a", np.empty((2, 3), np.int64))
        with pytest.raises(ValueError, match="tensor 'a': out for the tensor is read-only"):
            file.read_into("a", np.broadcast_to(np.float32(0), (2, 3)))


def test_what_is_no_regular_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        TorchFile(tmp_path / "none.bin")
    with pytest.raises(CheckpointError, match="not a regular file"):
        TorchFile(tmp_path)
