"""A NeMo model split over devices: joined, it is the model that was split."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinybert import NemotronForCausalLM
from tinybert.cli.main import main
from tinybert.formats.nemo.checkpoint import NemoCheckpoint
from tinybert.formats.nemo.ranks import rank_of, stages_of
from tinybert.formats.torch.file import TorchFile
from tinybert.weights import CheckpointError, open_checkpoint
from tinybert.weights.reader import TensorReader

L, H, G, K, D, F, V = 4, 8, 4, 2, 12, 20, 24  # layers, heads, groups, head, hidden, inner, words
OPTIONS: dict[str, Any] = {
    "num_layers": L, "hidden_size": D, "ffn_hidden_size": F, "num_attention_heads": H,
    "num_query_groups": G, "kv_channels": K, "encoder_seq_length": 64, "bias": True,
}  # fmt: skip
ROWS = (
    "word_embeddings.weight", "output_layer.weight", "linear_qkv.weight", "linear_qkv.bias",
    "linear_fc1.weight", "linear_fc1.bias",
)  # fmt: skip
COLUMNS = ("linear_proj.weight", "linear_fc2.weight")
State = dict[str, torch.Tensor]
Ranks = dict[tuple[int, int], dict[str, Any]]  # pipeline rank, tensor-parallel rank


def whole_model(dtype: torch.dtype = torch.float32, tied: bool = False) -> State:
    fused = (H + 2 * G) * K
    layer = {
        "self_attention.linear_qkv.layer_norm_weight": (D,),
        "self_attention.linear_qkv.layer_norm_bias": (D,),
        "self_attention.linear_qkv.weight": (fused, D),
        "self_attention.linear_qkv.bias": (fused,),
        "self_attention.linear_proj.weight": (D, H * K),
        "self_attention.linear_proj.bias": (D,),
        "mlp.linear_fc1.layer_norm_weight": (D,),
        "mlp.linear_fc1.layer_norm_bias": (D,),
        "mlp.linear_fc1.weight": (F, D),
        "mlp.linear_fc1.bias": (F,),
        "mlp.linear_fc2.weight": (D, F),
        "mlp.linear_fc2.bias": (D,),
    }
    shapes: dict[str, tuple[int, ...]] = {"embedding.word_embeddings.weight": (V, D)}
    shapes |= {f"decoder.layers.{i}.{name}": s for i in range(L) for name, s in layer.items()}
    shapes |= {f"decoder.final_layernorm.{kind}": (D,) for kind in ("weight", "bias")}
    shapes |= {} if tied else {"output_layer.weight": (V, D)}
    draw = torch.Generator().manual_seed(0)
    return {f"model.{n}": torch.randn(s, generator=draw).to(dtype) for n, s in shapes.items()}


def split(state: State, tp: int, pp: int) -> Ranks:
    """As Megatron-LM has it: equal parts of rows or columns, and copies of everything else."""
    ranks: Ranks = {(p, t): {} for p in range(pp) for t in range(tp)}
    for name, tensor in state.items():
        if match := re.match(r"(model\.decoder\.layers\.)(\d+)(.*)", name):
            stage, layer = divmod(int(match[2]), L // pp)
            name = f"{match[1]}{layer}{match[3]}"
        else:
            stage = 0 if "embedding" in name else pp - 1
        axis = 0 if name.endswith(ROWS) else 1 if name.endswith(COLUMNS) else None
        parts = [tensor] * tp if axis is None else tensor.chunk(tp, axis)
        for t in range(tp):
            ranks[stage, t][name] = parts[t].clone()
    for rank in ranks.values():
        rank["model.decoder.layers.0.self_attention.linear_qkv._extra_state"] = io.BytesIO(b"\xff")
    return ranks


def folder_of(rank: tuple[int, int], pp: int) -> str:
    return f"tp_rank_{rank[1]:02d}_pp_rank_{rank[0]:03d}" if pp > 1 else f"mp_rank_{rank[1]:02d}"


def saved(folder: Path, ranks: Ranks, **options: Any) -> Path:
    stages, shards = max(ranks)
    sizes = {
        "tensor_model_parallel_size": shards + 1, "pipeline_model_parallel_size": stages + 1
    }  # fmt: skip
    folder.mkdir()
    (folder / "model_config.yaml").write_text(json.dumps({**OPTIONS, **sizes, **options}))
    for rank, state in ranks.items():
        (folder / folder_of(rank, stages + 1)).mkdir()
        torch.save(state, folder / folder_of(rank, stages + 1) / "model_weights.ckpt")
    return folder


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".nemo")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    return path


def unsplit(folder: Path, state: State, **options: Any) -> TensorReader:
    folder.mkdir()
    (folder / "model_config.yaml").write_text(json.dumps({**OPTIONS, **options}))
    torch.save(state, folder / "model_weights.ckpt")
    return open_checkpoint(folder)


def assert_same(found: TensorReader, expected: TensorReader) -> None:
    assert isinstance(found, NemoCheckpoint)
    assert found.model_config() == expected.model_config()  # type: ignore[attr-defined]
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found.info(name) == expected.info(name)
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name
        assert found[name].flags.writeable == array.flags.writeable
        assert found.copy(name).tobytes() == array.tobytes(), name


@pytest.mark.parametrize("pp", [1, 2, 4])
@pytest.mark.parametrize("tp", [1, 2, 4])
def test_joined_it_is_the_model_that_was_split(tp: int, pp: int, tmp_path: Path) -> None:
    state = whole_model()
    folder = saved(tmp_path / "split", split(state, tp, pp))
    with unsplit(tmp_path / "whole", state) as expected:
        for path in (
            folder,
            packed(folder),
            folder / folder_of((pp - 1, tp - 1), pp) / "model_weights.ckpt",
        ):
            with open_checkpoint(path) as found:
                assert_same(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_formats(dtype: torch.dtype, tmp_path: Path) -> None:
    state = whole_model(dtype)
    with (
        unsplit(tmp_path / "whole", state) as expected,
        open_checkpoint(saved(tmp_path / "split", split(state, 2, 2))) as found,
    ):
        assert_same(found, expected)


def test_stages_of_unequal_size(tmp_path: Path) -> None:
    state = whole_model()
    ranks = split(state, 2, 2)
    for t in range(2):
        moved = [name for name in ranks[0, t] if ".layers.1." in name]
        later = {re.sub(r"layers\.\d", lambda m: f"layers.{int(m[0][-1]) + 1}", name): tensor
                 for name, tensor in ranks[1, t].items()}  # fmt: skip
        ranks[1, t] = later | {
            name.replace(".layers.1.", ".layers.0."): ranks[0, t].pop(name) for name in moved
        }
    with (
        unsplit(tmp_path / "whole", state) as expected,
        open_checkpoint(saved(tmp_path / "split", ranks)) as found,
    ):
        assert_same(found, expected)


TIED = {"share_embeddings_and_output_weights": True}
EMBEDDING, OUTPUT = "model.embedding.word_embeddings.weight", "model.output_layer.weight"


@pytest.mark.parametrize("pp", [1, 2])
def test_tied_embeddings(pp: int, tmp_path: Path) -> None:
    """The last of several stages has a copy of the embedding as its output layer."""
    state = whole_model(tied=True)
    ranks = split(state, 2, pp)
    if pp > 1:
        for t in range(2):
            ranks[1, t][OUTPUT] = ranks[0, t][EMBEDDING].clone()
    with (
        unsplit(tmp_path / "whole", state, **TIED) as expected,
        open_checkpoint(saved(tmp_path / "split", ranks, **TIED)) as found,
    ):
        assert_same(found, expected)
        assert "lm_head.weight" not in found


def test_a_tied_output_layer_must_be_the_embedding(tmp_path: Path) -> None:
    ranks = split(whole_model(tied=True), 2, 2)
    for t in range(2):
        ranks[1, t][OUTPUT] = ranks[0, t][EMBEDDING] + t
    with open_checkpoint(saved(tmp_path / "split", ranks, **TIED)) as found:
        for read in (found.__getitem__, found.copy):
            with pytest.raises(
                CheckpointError,
                match=r"tp_rank_01_pp_rank_001/model_weights\.ckpt: tensor "
                r"'model\.output_layer\.weight' must equal 'model\.embedding",
            ):
                read("model.embed_tokens.weight")


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = whole_model()
    unsplit(tmp_path / "whole", state).close()
    folder = saved(tmp_path / "split", split(state, 2, 2))
    for i, source in enumerate((folder, packed(folder))):
        target = tmp_path / f"target{i}"
        assert main(["convert", str(source), str(target)]) == 0
        assert "(NeMo)" in capsys.readouterr().out
        assert main(["diff", str(tmp_path / "whole"), str(target)]) == 0
    ids = np.arange(V)[None]
    logits = [
        NemotronForCausalLM.from_pretrained(path)(ids).logits.numpy()
        for path in (tmp_path / "whole", folder, tmp_path / "target0")
    ]
    assert (logits[0] == logits[1]).all()
    assert (logits[0] == logits[2]).all()


def test_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[TorchFile] = []

    class Recorded(TorchFile):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    monkeypatch.setattr("tinybert.formats.nemo.files.TorchFile", Recorded)
    ranks = split(whole_model(), 2, 2)
    with open_checkpoint(saved(tmp_path / "split", ranks)) as found:
        array = found["model.layers.0.mlp.up_proj.weight"]
    ranks[1, 1].pop(OUTPUT)
    with pytest.raises(CheckpointError, match="lacks tensor"):
        open_checkpoint(saved(tmp_path / "bad", ranks))
    assert len(opened) == 8
    for file in opened:
        with pytest.raises(ValueError, match="closed file"):
            file.copy(next(iter(file)))
    assert np.isfinite(array).all()


# --- refused, by name ----------------------------------------------------------------------------

LAYER = "model.decoder.layers.0."
PROJECTION = f"{LAYER}self_attention.linear_proj."


def changed(rank: tuple[int, int], name: str, change: Any) -> Callable[[Ranks], Any]:
    """Return a function that sets a tensor of a rank, or deletes it if `change` is None."""

    def apply(ranks: Ranks) -> None:
        tensor = ranks[rank].pop(name, torch.zeros(3))
        if change is not None:
            ranks[rank][name] = change(tensor)

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed((0, 1), f"{PROJECTION}bias", None),
         r"tp_rank_01_pp_rank_000/model_weights\.ckpt lacks tensor '.*linear_proj\.bias', which "
         r".*tp_rank_00_pp_rank_000/model_weights\.ckpt has"),
        (changed((1, 1), "model.more", lambda a: a),
         r"tp_rank_01_pp_rank_001/.* has a tensor 'model\.more', which .*tp_rank_00.* lacks"),
        (changed((0, 1), EMBEDDING, lambda a: a[1:].clone()),
         r"tp_rank_01_pp_rank_000/.*'model\.embedding.*' is F32 of shape \(11, 12\), but .* \(12,"),
        (changed((0, 1), EMBEDDING, lambda a: a.half()), r"is F16 of shape .* has F32 of shape"),
        (lambda ranks: [state.update({PROJECTION + "weight": torch.zeros(3)})
                        for rank, state in ranks.items() if rank[0] == 0],
         r"tensor '.*linear_proj\.weight' has shape \(3,\)"),
        (lambda ranks: [state.update({EMBEDDING: torch.zeros(12, 12)}) for state in ranks.values()],
         r"pp_rank_001/.* has a tensor 'model\.embedding.*', which .*pp_rank_000.* has too"),
        (lambda ranks: [state.update({LAYER.replace("0", "5") + "x": torch.zeros(3)})
                        for rank, state in ranks.items() if rank[0] == 1],
         r"pp_rank_001/.* has 3 layers, which are not numbered from 0"),
        (lambda ranks: [state.pop(EMBEDDING) for rank, state in ranks.items() if rank[0] == 0],
         "does not have the tensor names of a Megatron-core decoder"),
        (lambda ranks: [state.pop(OUTPUT) for rank, state in ranks.items() if rank[0] == 1],
         r"lacks 1 tensors .*'output_layer\.weight' of shape \(24, 12\) \(.*model_config\.yaml\)"),
    ],
)  # fmt: skip
def test_ranks_that_do_not_match_each_other(change: Any, words: str, tmp_path: Path) -> None:
    ranks = split(whole_model(), 2, 2)
    change(ranks)
    folder = saved(tmp_path / "split", ranks)
    for path in (folder, packed(folder)):
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(path)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("self_attention.linear_proj.bias", "self_attn.o_proj.bias"),
        ("mlp.linear_fc2.bias", "mlp.down_proj.bias"),
        ("mlp.linear_fc1.layer_norm_weight", "post_attention_layernorm.weight"),
        ("self_attention.linear_qkv.layer_norm_bias", "input_layernorm.bias"),
    ],
)
def test_copies_that_differ(stored: str, name: str, tmp_path: Path) -> None:
    ranks = split(whole_model(), 2, 2)
    ranks[1, 1][LAYER + stored][0] += 1e-6
    with open_checkpoint(saved(tmp_path / "split", ranks)) as found:
        assert np.isfinite(found[f"model.layers.1.{name}"]).all()  # of the other stage
        for read in (found.__getitem__, found.copy):
            with pytest.raises(
                CheckpointError,
                match=rf"tp_rank_01_pp_rank_001/.*{stored}' must equal .*tp_rank_00",
            ):
                read(f"model.layers.2.{name}")
    with pytest.raises(CheckpointError, match="must equal"):
        NemotronForCausalLM.from_pretrained(tmp_path / "split")


def test_ranks_that_are_missing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "split", split(whole_model(), 2, 2))
    for rank in ((1, 1), (0, 0)):
        name = folder_of(rank, 2)
        (folder / name / "model_weights.ckpt").rename(tmp_path / "kept")
        for path in (folder, packed(folder)):
            with pytest.raises(CheckpointError, match=f"lacks 1 of 4 ranks; the first is {name}"):
                open_checkpoint(path)
        (tmp_path / "kept").rename(folder / name / "model_weights.ckpt")
    shutil.copytree(folder / folder_of((0, 0), 2), folder / "mp_rank_00")
    with pytest.raises(CheckpointError, match="has folders of two saves: mp_rank_00, tp_rank_00_"):
        open_checkpoint(folder)
    (folder / "model_config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"over devices, and needs its model_config\.yaml"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("folders", "options", "words"),
    [
        (["mp_rank_01"], {}, "lacks 1 of 2 ranks; the first is mp_rank_00"),
        (["mp_rank_00"], {"tensor_model_parallel_size": 10**12}, "lacks 999999999999 of"),
        (["mp_rank_00"], {"pipeline_model_parallel_size": 2}, "first is tp_rank_00_pp_rank_001"),
        (["mp_rank_00", "mp_rank_01"], {"tensor_model_parallel_size": 1},
         "tensor_model_parallel_size is 1, but there are folders of 2 ranks"),
        (["mp_rank_00"], {"tensor_model_parallel_size": "${tp}"}, "must be an integer >= 1, got"),
        (["mp_rank_00", "mp_rank_000"], {}, "folders of two saves"),
        (["mp_rank_00", "tp_rank_01_pp_rank_000"], {}, "folders of two saves"),
        ([f"mp_rank_{i:02d}" for i in range(513)], {}, "has 513 ranks; at most 512 are read"),
        (["tp_rank_00_pp_rank_000", "tp_rank_00_pp_rank_001"],
         {"virtual_pipeline_model_parallel_size": 2}, "virtual_pipeline_model_parallel_size is 2"),
    ],
)  # fmt: skip
def test_layouts_that_are_refused(folders: list[str], options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        stages_of(folders, options)


def test_names_of_ranks() -> None:
    assert rank_of("mp_rank_07") == (0, 7)
    assert rank_of("tp_rank_01_pp_rank_012") == (12, 1)
    for name in ("mp_rank_0", "tp_rank_00", "mp_rank_00_000", "mp_rank_٠١", "mp_rank_00/", ""):
        assert rank_of(name) is None
    every = {(s, t): f"tp_rank_{t:02d}_pp_rank_{s:03d}" for s in range(2) for t in range(3)}
    assert stages_of(list(every.values())[::-1], {}) == [
        [every[s, t] for t in range(3)] for s in range(2)
    ]


def test_distributed_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "distributed"
    weights = folder / "model_weights"
    weights.mkdir(parents=True)
    (folder / "model_config.yaml").write_text(json.dumps(OPTIONS))
    for name in ("common.pt", ".metadata", "metadata.json", "__0_0.distcp"):
        (weights / name).write_bytes(b"{}")
    for path in (folder, weights, packed(folder)):
        with pytest.raises(CheckpointError, match=r"is a distributed checkpoint \(torch_dist or"):
            open_checkpoint(path)
