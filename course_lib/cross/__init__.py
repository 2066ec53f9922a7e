"""Attention two inputs that attend to each other.

bilinear  one softmax over all pairs of region and word
context   a box asks what else is in the picture
"""
