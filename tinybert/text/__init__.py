"""Algorithms on text: WordPiece, byte-pair encoding, Unigram, normalization, learning a vocabulary.

They know nothing of the options of a call, of model folders, or of tensors.
"""
