"""`tinybert generate`: text generation."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.checks import check_integer
from tinybert.cli.attention_chart import check_tokens, save_attention
from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.figures import figure_path
from tinybert.cli.pipeline_arguments import add_pipeline_arguments, add_plot_argument
from tinybert.cli.ranks import first_alone, from_first, on_ranks
from tinybert.cli.streaming import TerminalStreamer, WordWrapper
from tinybert.cli.terminal import columns_of, print_json, shorten, table, terminal_width, wrap
from tinybert.cli.text2text import Text2TextGenerationPipeline, load_generator
from tinybert.cli.token_probabilities import (
    Step,
    Token,
    attention_weights,
    generation_steps,
    label,
    new_token_ids,
)
from tinybert.generation.sentence_end import SentenceEnd
from tinybert.hub import resolve
from tinybert.outputs import ModelOutput
from tinybert.parallel.parallelize import parallelize
from tinybert.pipelines.text_generation import Generated

TOKEN_WIDTH = 20  # columns of a token in the table
NEW_TOKENS = 40
MORE_TOKENS = 60  # to the end of a sentence
FIELD = "whole_sentences"  # of generation_config.json

DETAILS = """\
Continues each text with a causal language model (BertLMHeadModel with
is_decoder, Nemotron, MEGA), or generates a new text from it with an
EncoderDecoderModel. By default the next token is sampled from the model's
probabilities; a --temperature below 1 makes likely tokens more likely. --seed
makes sampling reproducible. --greedy always takes the most likely token;
--beams N uses beam search with N beams. --whole-sentences goes on after
--max-new-tokens until a sentence ends; a model may ask for that itself.

In a terminal the text is streamed word by word, unless it is one of several
(--count) or found by beam search; --no-stream prints it at the end. --top N
lists the probability of each new token and N alternatives, as predicted by the
model, before temperature and other options of sampling. --plot draws the
attention weights of the last layer (pip install "tinybert[plot]").

On several ranks of MPI each computes a part of every layer (BERT, MegatronBERT,
Nemotron); the text is the same, printed once. Each rank loads the whole model,
and then keeps its part."""

EXAMPLE = """\
  $ tinybert generate "Call me" --model my-decoder --max-new-tokens 4 --top 2
  Call me ishmael. some

  token     prob  alternatives
  ish     0.9120  jonah 0.03  when 0.01
  ##mael  0.9974  ##tar 0.00  ##ing 0.00
  .       0.9731  , 0.02  ; 0.00
  some    0.6402  the 0.12  it 0.06

  $ tinybert generate "Call me" --model my-decoder --count 3 --new-only
  $ tinybert generate "Call me" --model my-decoder --greedy --plot attention.png
  $ mpiexec -n 4 tinybert generate "Call me" --model my-nemotron --tensor 4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --model, the options of generation and output, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument(
        "--max-new-tokens", type=int, metavar="N", help=f"new tokens (default: {NEW_TOKENS})"
    )
    parser.add_argument(
        "--whole-sentences", action="store_true",
        help=f"end with a sentence, at most {MORE_TOKENS} tokens later",
    )  # fmt: skip
    parser.add_argument("--greedy", action="store_true", help="always take the most likely token")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="X",
        help="temperature of sampling (default: the model's, or 0.7)",
    )
    parser.add_argument(
        "--top-k", type=int, metavar="N", help="sample from the N most likely tokens"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="sample from the most likely tokens with total probability P",
    )
    parser.add_argument(
        "--min-p",
        type=float,
        metavar="P",
        help="sample from tokens at least P times as likely as the best",
    )
    parser.add_argument(
        "--beams", type=int, default=1, metavar="N", help="beams of beam search (default: 1, off)"
    )
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="generated texts per text (default: 1)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="make sampling reproducible")
    parser.add_argument(
        "--tensor", type=int, metavar="T",
        help="ranks that divide each layer, started by mpiexec -n T (default: all)",
    )  # fmt: skip
    parser.add_argument("--new-only", action="store_true", help="print the new text only")
    parser.add_argument("--no-stream", action="store_true", help="print the text when it is done")
    parser.add_argument("--top", type=int, metavar="N", help="show N alternatives of each token")
    add_plot_argument(parser, "a chart of the attention weights")
    add_pipeline_arguments(parser, "text-generation")
    parser.set_defaults(grid=None)


def run(args: argparse.Namespace) -> int:
    """Continue every text; stream it to a terminal, or print it at the end."""
    options = _options(args)
    plot = figure_path("--plot", args.plot)
    texts = from_first(args, lambda: read_texts(args))
    if plot is not None and len(texts) * args.count > 1:
        raise ValueError(f"--plot draws a single generated text, got {len(texts) * args.count}")
    generator = _load(args)
    seeds = from_first(args, lambda: _seeds(args, len(texts)))
    if isinstance(generator, Text2TextGenerationPipeline):
        options["return_full_text"] = False
    at_end = args.json or args.no_stream or args.count > 1 or args.beams > 1
    streams = sys.stdout.isatty() and not at_end
    results: list[list[GeneratedText]] = []
    for i, text in enumerate(texts):
        end = _sentence_end(args, generator, text, options["max_new_tokens"])
        asked = options | end | {"seed": seeds[i]}
        if plot is not None:
            check_tokens(len(generator.tokenizer(text)["input_ids"]) + asked["max_new_tokens"])
        if streams:
            print(end="\n" if i else "")
            generated = _stream(generator, text, asked)
        else:
            generated = generator.generate(text, **asked)
        results.append(
            [
                _generated_text(generator, generated, k, args.top, bool(end))
                for k in range(args.count)
            ]
        )
        if streams and args.top:
            print("\n" + _table(results[-1][0].steps))
        if plot is not None:
            _plot(plot, generator, generated, results[0][0].steps)
    if args.json:
        as_dicts = [
            {"prompt": text, "texts": [_as_dict(result, args.top) for result in group]}
            for text, group in zip(texts, results, strict=True)
        ]
        print_json({"model": args.model, "results": as_dicts})
    elif not streams:
        print("\n\n".join(_block(result, args.top) for group in results for result in group))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the pipeline."""
    names = ("temperature", "top_k", "top_p", "min_p")
    sampling = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.greedy and sampling:
        flags = ", ".join("--" + name.replace("_", "-") for name in sampling)
        raise ValueError(f"--greedy does not sample: remove {flags}, or --greedy")
    if args.greedy and args.count > 1 and args.beams == 1:
        raise ValueError(
            f"--count must be 1 with --greedy, got {args.count}; use --beams, or remove --greedy"
        )
    if args.top is not None:
        check_integer("--top", args.top, 1)
    count = NEW_TOKENS if args.max_new_tokens is None else args.max_new_tokens
    check_integer("--max-new-tokens", count, 1)
    options: dict[str, Any] = {
        "max_new_tokens": count,
        "do_sample": not (args.greedy or (args.beams > 1 and not sampling)),
        "num_beams": args.beams,
        "num_return_sequences": args.count,
        "return_full_text": not args.new_only,
        **sampling,
    }
    if args.json or args.top is not None or args.plot is not None:
        options |= {"return_dict_in_generate": True, "output_logits": True}
    if args.plot is not None:
        options["output_attentions"] = True
    return options


def _load(args: argparse.Namespace) -> Any:
    """Return the pipeline of --model; on several ranks its model is this rank's part."""
    if args.grid is None:
        return load_generator(args)
    if args.plot is not None:
        raise ValueError("--plot is not supported on several ranks: each has a part of the heads")
    if args.model is not None:
        first_alone(args, lambda: resolve(args.model))
    generator = load_generator(args)
    if args.grid.tensor.size > 1:
        parallelize(generator.model, args.grid)
    return generator


def _seeds(args: argparse.Namespace, count: int) -> list[int | None]:
    """Return a seed for each text; without --seed and on several ranks a new one, equal on all."""
    if args.seed is None and args.grid is not None:
        return list(np.random.default_rng().integers(2**31, size=count).tolist())
    return [args.seed] * count


def _sentence_end(
    args: argparse.Namespace, generator: Any, text: str, count: int
) -> dict[str, Any]:
    """Return the options that end a text of `count` new tokens with a sentence, if it is to.

    It is with --whole-sentences; and without --max-new-tokens if the model's generation_config.json
    has `"whole_sentences": true`, a field that other programs ignore.
    """
    model = generator.model
    asks = args.max_new_tokens is None and getattr(model.generation_config, FIELD, False)
    if not (args.whole_sentences or asks):
        return {}
    if not model.generation_config.eos_ids:
        raise ValueError(
            f"--whole-sentences needs a model with an eos_token_id; {args.model} has none"
        )
    most = count + MORE_TOKENS
    if model.position_limit is not None:
        room = model.position_limit - len(generator.tokenizer(text)["input_ids"])
        most = max(count, min(most, room))
    end = SentenceEnd(generator.tokenizer, count, model.generation_config.eos_ids[0])
    return {"max_new_tokens": most, "logits_processor": [end]}


def _stream(generator: Any, text: str, options: dict[str, Any]) -> Generated:
    """Continue a text and print it word by word; end the line even after Ctrl-C."""
    wrapper = WordWrapper(lambda part: print(part, end="", flush=True), terminal_width())
    prompt = text if options["return_full_text"] else ""
    streamer = TerminalStreamer(generator.tokenizer, wrapper, prompt)
    try:
        return generator.generate(text, streamer=streamer, **options)
    finally:
        wrapper.end()


@dataclass
class GeneratedText:
    """A generated text, with the steps of its new tokens if the output has logits."""

    text: str
    steps: list[Step]


def _generated_text(
    generator: Any, generated: Generated, i: int, top: int | None, ended: bool
) -> GeneratedText:
    """Return text i; if `SentenceEnd` ended it, the token that it chose is not a step."""
    text = generated.records[i]["generated_text"]
    if not isinstance(generated.output, ModelOutput):
        return GeneratedText(text, [])
    eos_ids = generator.model.generation_config.eos_ids
    ids = new_token_ids(generated.output, i, eos_ids)
    if ended and ids[-1] in eos_ids:
        ids = ids[:-1]
    steps = generation_steps(generated.output, i, ids, generator.tokenizer, top or 0)
    return GeneratedText(text, steps)


# --- output ---------------------------------------------------------------------------------------


def _block(result: GeneratedText, top: int | None) -> str:
    """Return the text, wrapped to the terminal, and with --top the table of its new tokens."""
    parts: list[str] = []
    wrapper = WordWrapper(parts.append, terminal_width())
    wrapper.add(result.text)
    wrapper.end()
    text = "".join(parts).removesuffix("\n")
    return f"{text}\n\n{_table(result.steps)}" if top else text


def _table(steps: list[Step]) -> str:
    rows = []
    header = ["token", "prob"]
    for step in steps:
        token = shorten(step.chosen.label, TOKEN_WIDTH)
        rows.append([token, f"{step.chosen.probability:.4f}"])
    width = terminal_width() - max(map(columns_of, table(header, rows, "lr"))) - 2
    lines = []
    for row, step in zip(rows, steps, strict=True):
        first, *more = wrap([_alternative(token) for token in step.alternatives], width, "  ")
        lines += [[*row, first], *(["", "", line] for line in more)]
    return "\n".join(table([*header, "alternatives"], lines, "lrl"))


def _alternative(token: Token) -> str:
    return f"{shorten(token.label, TOKEN_WIDTH)} {token.probability:.2f}"


def _as_dict(result: GeneratedText, top: int | None) -> dict[str, Any]:
    chosen = [step.chosen for step in result.steps]
    as_dict: dict[str, Any] = {
        "text": result.text,
        "ids": [token.id for token in chosen],
        "tokens": [token.token for token in chosen],
        "probabilities": [token.probability for token in chosen],
    }
    if top:
        as_dict["alternatives"] = [
            [{"id": t.id, "token": t.token, "probability": t.probability} for t in s.alternatives]
            for s in result.steps
        ]
    return as_dict


def _plot(path: Path, generator: Any, generated: Generated, steps: list[Step]) -> None:
    config = generator.model.config
    new = [step.chosen.label for step in steps]
    weights = attention_weights(generated.output, 0, len(new), config)
    ids = generated.prompt
    if not config.is_encoder_decoder:
        ids = generated.output.sequences.numpy()[0].tolist()
    keys = [label(generator.tokenizer, token) for token in ids[: weights.shape[1]]]
    save_attention(path, weights, new, keys)


FLAGS = {
    "num_beams": "--beams",
    "num_return_sequences": "--count",
    "do_sample=False": "--greedy",
}
COMMAND = Command(DETAILS, EXAMPLE, add_arguments, on_ranks(run, "tensor"), FLAGS, ranks=True)
