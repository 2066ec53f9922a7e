"""Attention when."""
