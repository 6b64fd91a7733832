"""Flows in explicit steps, whose length a rule decides."""
