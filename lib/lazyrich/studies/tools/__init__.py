"""Tools that measurements of several parts share."""
