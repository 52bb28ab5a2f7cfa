"""`tinybert.functional` by the name that torch gives it: `import tinybert.nn.functional as F`."""

from tinybert.functional import *
