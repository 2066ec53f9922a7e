"""Attention before any network: addressing a memory with queries, keys and values."""
