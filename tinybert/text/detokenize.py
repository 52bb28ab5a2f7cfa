"""English detokenization: removing the spaces that tokenization put before punctuation."""

from __future__ import annotations

# Replaced in this order.
CLEAN_UPS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
# What the decoders of the Rust library replace, in each token.
TOKEN_CLEAN_UPS = (*CLEAN_UPS[:7], (" do not", " don't"), *CLEAN_UPS[7:])


def clean_up_english(text: str) -> str:
    """Remove the space before English punctuation and contractions."""
    for old, new in CLEAN_UPS:
        text = text.replace(old, new)
    return text


def clean_up_token(token: str) -> str:
    """Clean up one token as the decoders of the Rust library do."""
    for old, new in TOKEN_CLEAN_UPS:
        token = token.replace(old, new)
    return token
