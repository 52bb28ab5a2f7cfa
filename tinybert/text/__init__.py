"""Algorithms on text: WordPiece, byte-pair encoding, Unigram, normalization, learning a vocabulary.

They do not depend on the options of a call, on model folders, or on tensors.
"""
