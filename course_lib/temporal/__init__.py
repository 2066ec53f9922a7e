"""Attention when.

frame_attention  weights for frames, and frames that ask frames
"""
