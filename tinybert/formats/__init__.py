"""Weight files of other frameworks, read as arrays without those frameworks."""
