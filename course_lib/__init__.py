"""Reference implementations and tools of the course "Attention in computer vision"."""

__version__ = "0.1.0.dev0"
