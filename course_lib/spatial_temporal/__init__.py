"""Attention when and where.

divided      first over time, then over space
stc          channels gated by what they show, and by when
cross_frame  this frame asks the one before
"""
