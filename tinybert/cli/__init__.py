"""The command line `tinybert`: one command a file, and `main` that chooses among them."""
