"""Attention what: one number per channel.

squeeze_excitation    all the means decide how much of each channel passes
gather_excite         how wide to gather, and how much to learn
second_order_pooling  which channels occur together
style_recalibration   mean and deviation, each channel alone
frequency_channel     the mean is one wave among many
context_encoding      pixels sorted to learned codewords
gated_channel         a channel against the size of the others
efficient_channel     a few neighbours in the list of channels
"""
