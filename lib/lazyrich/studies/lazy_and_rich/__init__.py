"""Lazy and rich in deep nets: what this part of the book trains and measures."""
