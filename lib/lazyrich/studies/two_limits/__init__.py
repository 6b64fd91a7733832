"""Two limits: what this part of the book trains and measures."""
