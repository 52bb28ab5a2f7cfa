"""A museum of famous bugs: each can be planted in the engine, and a check catches it.

    with tinybert.bug("scale-by-hidden-size"):
        model(**inputs)                             # the engine has the bug in this block only

`bugs.py` says what a bug is and plants it, `visit.py` runs its symptom and its check, `excerpt.py`
shows the wrong code beside the right one, `specimens.py` has the small models. The other files are
the rooms: the bugs of one subject each, wrong code first.
"""

from tinybert.learn.museum.bugs import bug

__all__ = ["bug"]
