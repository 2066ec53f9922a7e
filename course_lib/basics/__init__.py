"""Attention before any network: addressing a memory with queries, keys and values.

addressing        scores, weights, reading; the mask
multi_head        several look-ups side by side
soft_and_hard     reading an average, or one place; how to train the second
show_attend_tell  a caption that looks at the image before each word
"""
