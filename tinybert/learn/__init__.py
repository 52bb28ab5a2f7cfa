"""Learning by doing: lessons, exercises that tests check, and a museum of famous bugs."""

from tinybert.learn.picture import show

__all__ = ["show"]
