"""Attention what and where.

cbam  first which channels, then which places
bam   both at once, from one input
sca   a sentence chooses channels and places
dual  positions read positions, channels read channels
"""
