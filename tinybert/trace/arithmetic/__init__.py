"""The arithmetic of one element of a result, with the numbers put in; one function an operation."""
