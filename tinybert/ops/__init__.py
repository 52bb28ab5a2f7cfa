"""Every operation, one file each: the `Function` class with its derivation, forward and backward on
raw arrays; beneath it the public function that checks the arguments; then the formulas of its
kernels and their faster versions. The list of all functions is `tinybert.functional`.
"""
