"""Silent alignment: what this part of the book trains and measures."""
