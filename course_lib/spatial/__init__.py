"""Attention where: positions, regions, samples.

glimpse                look at a few small places, one after the other
spatial_transformer    see the image through an affine map
deformable             a kernel whose taps move
non_local              every position asks every other
global_context         the same places, whoever asks
compact_non_local      channels and positions in one dot product
criss_cross            ask the own row and column, twice
asymmetric_non_local   ask a few averages of the image
double_attention       gather a few descriptors, then distribute them
external               ask a memory that all images share
global_reasoning       pixels become nodes that talk
pyramid_graph          like pixels talk, at several sizes
dynamic_graph          choose a few places to listen to
stand_alone            a window that is weighed by its content
local_relation         one number asks, one answers, and the place counts
vector_attention       a weight for each group of channels
augmented_convolution  some channels of a convolution come from attention
attention_factors      four reasons to look somewhere
vision_transformer     patches are words
zoom                   propose one square and enlarge it
granularity            one region for each level of labels
window                 what the local ones share: shifts of a window
"""
