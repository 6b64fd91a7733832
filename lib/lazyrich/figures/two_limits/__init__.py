"""Two limits: the pictures of this part of the book."""
