"""Weight files of other frameworks, read as arrays without those frameworks.

Importing the package makes `tinybert.weights.open_checkpoint` recognize them.
"""

from tinybert.formats.registration import register

register()
