"""The exercises in a terminal: texts of a given width, and the loop that checks at every save."""
