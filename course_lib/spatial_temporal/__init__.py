"""Attention when and where."""
