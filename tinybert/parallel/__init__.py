"""Training on several ranks: tensor, pipeline and data parallelism on MPI."""
