"""Attention what and where."""
