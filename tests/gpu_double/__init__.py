"""A double of CuPy and of the GPU: the code of `tinybert/backend/cuda` runs on it unchanged.

compiled    CUDA C++ compiled for the CPU by g++, and run by blocks of threads
cublas      products read from memory as cuBLAS reads it
cupy        the module `cupy`, made of the strict double and of these
nvrtc       whether NVIDIA's compiler accepts the kernels

`tests/launches.py` counts launches and synchronisations, as CuPy would make them.
"""
