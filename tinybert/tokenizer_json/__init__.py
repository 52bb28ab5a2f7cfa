"""The parts of which a tokenizer.json is made: normalizers, pre-tokenizers, models, post-processors
and decoders. They give the results of the Rust library `tokenizers`.
"""
