"""An alphabet for bytes: 256 characters that can be seen.

Byte-level tokenizers spell a text in its UTF-8 bytes: 256 symbols are enough for every text. Their
files are text too, so each byte needs a character, and not a space or a line end:

- the bytes 0x21 to 0x7E, 0xA1 to 0xAC and 0xAE to 0xFF are the character with the same number,
  chr(byte): "!" to "~", "¡" to "¬" and "®" to "ÿ" can be seen;
- the other 68 bytes, in their order, are the characters with the numbers 256, 257, 258, ...

So byte 0 is "Ā" (256), and the space, byte 0x20, is "Ġ" (288). GPT-2, RoBERTa and many others use
this alphabet: a Ġ in a list of tokens is a space.
"""


def spell(text: str) -> str:
    """Return the bytes of a text, each as its character: "a café" is spelt aĠcafÃ©."""
    characters = alphabet()
    return "".join(characters[byte] for byte in text.encode("utf-8"))


def alphabet() -> list[str]:
    """Return 256 characters, no two equal; the character of byte b has the index b."""
    # TODO: go through the bytes 0 to 255, and count the ones that cannot be seen.
    # --- solution
    visible = {*range(0x21, 0x7E + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    characters, moved = [], 0
    for byte in range(256):
        if byte in visible:
            characters.append(chr(byte))
        else:
            characters.append(chr(256 + moved))
            moved += 1
    return characters
    # --- end
