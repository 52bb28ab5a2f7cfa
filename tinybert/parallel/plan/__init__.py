"""Plan a training run for any number of GPUs: memory, FLOPs, bytes sent and seconds of a step."""
