"""TensorFlow's weight files: Keras HDF5 files and checkpoint bundles."""
