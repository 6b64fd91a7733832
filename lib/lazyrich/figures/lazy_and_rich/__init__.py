"""Lazy and rich in deep nets: the pictures of this part of the book."""
