"""Finite width in practice: the pictures of this part of the book."""
