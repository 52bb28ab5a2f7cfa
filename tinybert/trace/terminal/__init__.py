"""A record in a terminal: one walks through its steps with keys, or reads them as a listing."""
