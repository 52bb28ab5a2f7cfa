"""All commands, in the order of the overview."""

from tinybert.cli import (
    answer,
    bench,
    classify,
    compare,
    convert,
    diff,
    embed,
    fetch,
    fill_mask,
    generate,
    inspect,
    plot,
    similarity,
    tag,
    tokenize,
)
from tinybert.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    fetch.COMMAND,
    similarity.COMMAND,
    embed.COMMAND,
    fill_mask.COMMAND,
    classify.COMMAND,
    tag.COMMAND,
    answer.COMMAND,
    generate.COMMAND,
    tokenize.COMMAND,
    inspect.COMMAND,
    convert.COMMAND,
    diff.COMMAND,
    compare.COMMAND,
    bench.COMMAND,
    plot.COMMAND,
)
