"""`tinybert generate`: how a text may go on."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.cli.attention_chart import check_tokens, save_attention
from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.pipeline_arguments import add_plot_argument, add_task_arguments, plot_file
from tinybert.cli.streaming import Flow, FlowStreamer
from tinybert.cli.terminal import columns_of, fold, print_json, shorten, table, terminal_width
from tinybert.cli.text2text import RewritingPipeline, load_writer
from tinybert.cli.token_probabilities import Choice, Token, choices, label, looks, new_ids
from tinybert.outputs import ModelOutput
from tinybert.pipelines.text_generation import Generated

TOKEN_WIDTH = 20  # columns of a token in the table

DETAILS = """\
Continues each text with a model that was trained for it (BertLMHeadModel with
is_decoder, Nemotron, MEGA), or rewrites it with an EncoderDecoderModel. Each
next token is drawn by its probability, at a
--temperature: below 1 likely ones are preferred. --seed makes a draw
repeatable; --greedy takes the likeliest token each time, --beams N follows the
N best sequences.

In a terminal the text appears word by word, unless there are beams or several
texts to choose from (--count); --no-stream shows it at the end. --top N lists
for each new token its probability and N others that were likely, by the model
itself, whatever the temperature. --plot draws which tokens were looked at for
each new one, in the last layer (pip install "tinybert[plot]")."""

EXAMPLE = """\
  $ tinybert generate "Call me" --model my-decoder --max-new-tokens 4 --top 2
  Call me ishmael. some

  token     prob  alternatives
  ish     0.9120  jonah 0.03  when 0.01
  ##mael  0.9974  ##tar 0.00  ##ing 0.00
  .       0.9731  , 0.02  ; 0.00
  some    0.6402  the 0.12  it 0.06

  $ tinybert generate "Call me" --model my-decoder --count 3 --new-only
  $ tinybert generate "Call me" --model my-decoder --greedy --plot looks.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --model, the options of the search, of the display, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=40, metavar="N", help="default: 40")
    parser.add_argument("--greedy", action="store_true", help="no chance")
    parser.add_argument("--temperature", type=float, metavar="X", help="default: 0.7")
    parser.add_argument("--top-k", type=int, metavar="N", help="draw from the N likeliest")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest P of 1")
    parser.add_argument(
        "--min-p", type=float, metavar="P", help="draw from those P times as likely as the best"
    )
    parser.add_argument("--beams", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="texts (default: 1)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeats a draw")
    parser.add_argument("--new-only", action="store_true", help="without the text given")
    parser.add_argument("--no-stream", action="store_true", help="show the text when it is done")
    parser.add_argument("--top", type=int, metavar="N", help="show N alternatives of each token")
    add_plot_argument(parser, "a picture of the attention")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Continue every text; show it as it comes where a person reads along, else at the end."""
    options = _options(args)
    plot = plot_file(args)
    texts = read_texts(args)
    if plot is not None and len(texts) * args.count > 1:
        raise ValueError(f"--plot draws one text, got {len(texts) * args.count}")
    writer = load_writer(args)
    if isinstance(writer, RewritingPipeline):
        options["return_full_text"] = False
    if plot is not None:
        check_tokens(len(writer.tokenizer(texts[0])["input_ids"]) + args.max_new_tokens)
    whole = args.json or args.no_stream or args.count > 1 or args.beams > 1
    streams = sys.stdout.isatty() and not whole
    results = []
    for i, text in enumerate(texts):
        if streams:
            print(end="\n" if i else "")
            found = _streamed(writer, text, options)
        else:
            found = writer.generate(text, **options)
        results.append([_written(writer, found, k, args.top) for k in range(args.count)])
        if streams and args.top:
            print("\n" + _table(results[-1][0].choices))
        if plot is not None:
            _draw(plot, writer, found, results[0][0].choices)
    if args.json:
        shown = [
            {"prompt": text, "texts": [_as_json(written, args.top) for written in group]}
            for text, group in zip(texts, results, strict=True)
        ]
        print_json({"model": args.model, "results": shown})
    elif not streams:
        print("\n\n".join(_block(written, args.top) for group in results for written in group))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the pipeline."""
    drawing = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    given = {name: value for name, value in drawing.items() if value is not None}
    if args.greedy and given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"--greedy draws nothing, so that {names} cannot be given")
    if args.greedy and args.count > 1 and args.beams == 1:
        raise ValueError("--greedy finds one text; for more add --beams, or leave it out")
    if args.top is not None and args.top < 1:
        raise ValueError(f"--top must be a whole number from 1, got {args.top}")
    options: dict[str, Any] = {
        "max_new_tokens": args.max_new_tokens,
        "do_sample": not (args.greedy or (args.beams > 1 and not given)),
        "num_beams": args.beams,
        "num_return_sequences": args.count,
        "return_full_text": not args.new_only,
        **given,
    }
    if args.seed is not None:
        options["seed"] = args.seed
    if args.json or args.top is not None or args.plot is not None:
        options |= {"return_dict_in_generate": True, "output_logits": True}
    if args.plot is not None:
        options["output_attentions"] = True
    return options


def _streamed(writer: Any, text: str, options: dict[str, Any]) -> Generated:
    """Continue a text and show it word by word; the line is ended even if it is interrupted."""
    flow = Flow(lambda part: print(part, end="", flush=True), terminal_width())
    streamer = FlowStreamer(writer.tokenizer, flow, text if options["return_full_text"] else "")
    try:
        return writer.generate(text, streamer=streamer, **options)
    finally:
        flow.end()


@dataclass
class Written:
    """One text that was written, and its new tokens if they are wanted."""

    text: str
    choices: list[Choice]


def _written(writer: Any, found: Generated, i: int, top: int | None) -> Written:
    text = found.records[i]["generated_text"]
    if not isinstance(found.output, ModelOutput):
        return Written(text, [])
    ids = new_ids(found.output, i, writer.model.generation_config.eos_ids)
    return Written(text, choices(found.output, i, ids, writer.tokenizer, top or 0))


# --- what is shown --------------------------------------------------------------------------------


def _block(written: Written, top: int | None) -> str:
    """The text in lines that fit, and the table of its new tokens if it is wanted."""
    parts: list[str] = []
    flow = Flow(parts.append, terminal_width())
    flow.add(written.text)
    flow.end()
    text = "".join(parts).removesuffix("\n")
    return f"{text}\n\n{_table(written.choices)}" if top else text


def _table(found: list[Choice]) -> str:
    rows = []
    heads = ["token", "prob"]
    for choice in found:
        token = shorten(choice.chosen.label, TOKEN_WIDTH)
        rows.append([token, f"{choice.chosen.probability:.4f}"])
    width = terminal_width() - max(map(columns_of, table(heads, rows, "lr"))) - 2
    lines = []
    for row, choice in zip(rows, found, strict=True):
        first, *more = fold([_beside(token) for token in choice.alternatives], width, "  ")
        lines += [[*row, first], *(["", "", line] for line in more)]
    return "\n".join(table([*heads, "alternatives"], lines, "lrl"))


def _beside(token: Token) -> str:
    return f"{shorten(token.label, TOKEN_WIDTH)} {token.probability:.2f}"


def _as_json(written: Written, top: int | None) -> dict[str, Any]:
    chosen = [choice.chosen for choice in written.choices]
    shown: dict[str, Any] = {
        "text": written.text,
        "ids": [token.id for token in chosen],
        "tokens": [token.token for token in chosen],
        "probabilities": [token.probability for token in chosen],
    }
    if top:
        shown["alternatives"] = [
            [{"id": t.id, "token": t.token, "probability": t.probability} for t in c.alternatives]
            for c in written.choices
        ]
    return shown


def _draw(path: Path, writer: Any, found: Generated, chosen: list[Choice]) -> None:
    """The picture of --plot."""
    new = [choice.chosen.label for choice in chosen]
    weights = looks(found.output, 0, len(new), writer.model.config)
    rewritten = writer.model.config.is_encoder_decoder
    ids = found.prompt if rewritten else found.output.sequences.numpy()[0].tolist()
    ids = ids[: weights.shape[1]]
    seen = [label(writer.tokenizer, token) for token in ids]
    save_attention(path, weights, new, seen)


SPELLINGS = {
    "num_beams": "--beams",
    "num_return_sequences": "--count",
    "do_sample=False": "--greedy",
}
COMMAND = Command("generate", "Continue a text", DETAILS, EXAMPLE, add_arguments, run, SPELLINGS)
