"""Executing the chapters and building the pages of the book."""

from lazyrich.publish import _installed as _installed
from lazyrich.publish.book import Result, publish
from lazyrich.publish.tree import Settings, Tree

__all__ = ["Result", "Settings", "Tree", "publish"]
