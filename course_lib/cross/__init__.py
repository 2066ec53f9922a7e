"""Attention two inputs that attend to each other."""
