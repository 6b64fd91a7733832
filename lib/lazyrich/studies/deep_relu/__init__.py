"""Depth: the deep ReLU kernel: what this part of the book trains and measures."""
