"""Attention what: one number per channel."""
