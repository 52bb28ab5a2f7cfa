"""NeMo's Nemotron checkpoints, with the names and shapes of transformers."""
