"""Depth: the deep ReLU kernel: the pictures of this part of the book."""
