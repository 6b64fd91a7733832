"""Silent alignment: the pictures of this part of the book."""
