"""The models: one file or more for each family, and what the families share."""

from tinybert.models.families import *
