"""Flax's weight files: arrays in MessagePack."""
