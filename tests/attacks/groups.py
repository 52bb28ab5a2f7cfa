"""All attacks, in groups that run at the same time."""

from __future__ import annotations

from tests.attacks import files, jsons, templates, tokenizers, weights

GROUPS = {
    "json files": jsons.whole_files,
    "json fields": jsons.fields,
    "headers": jsons.headers,
    "references": jsons.references,
    "auto": jsons.auto,
    "special files": files.special,
    "shards": files.missing_parts,
    "text files": files.texts,
    "reports": files.reports,
    "pickles": weights.pickles,
    "messages": weights.messages,
    "trees": weights.trees,
    "tables": weights.tables,
    "nemo": weights.nemo,
    "texts": tokenizers.texts,
    "parts": tokenizers.parts,
    "templates": templates.templates,
}
