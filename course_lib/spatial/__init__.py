"""Attention where: positions, regions, samples."""
