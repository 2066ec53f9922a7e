"""Attention which path."""
