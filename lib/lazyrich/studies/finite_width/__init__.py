"""Finite width in practice: what this part of the book trains and measures."""
