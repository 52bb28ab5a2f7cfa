"""Semantic search: the passages of text files that are most similar in meaning to a query."""

from tinybert.search.cross_encoder import CrossEncoder
from tinybert.search.ranking import Found, Hit, search

__all__ = ["CrossEncoder", "Found", "Hit", "search"]
