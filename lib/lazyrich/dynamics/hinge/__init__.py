"""Flows of the hinge loss, followed from kink to kink."""
