"""The package is being assembled floor by floor; see README.md."""
