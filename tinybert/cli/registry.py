"""All commands, in the order of the overview."""

from tinybert.cli import bench, compare, embed, fetch, inspect, similarity, tokenize
from tinybert.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    fetch.COMMAND,
    similarity.COMMAND,
    embed.COMMAND,
    tokenize.COMMAND,
    inspect.COMMAND,
    compare.COMMAND,
    bench.COMMAND,
)
