"""Megatron-LM's checkpoints, with the names and shapes of transformers."""
