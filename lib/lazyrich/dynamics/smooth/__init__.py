"""Smooth flows, integrated to high order."""
