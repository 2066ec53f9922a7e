"""Attention which path.

selective_kernel     which size of kernel
dynamic_convolution  which mixture of kernels
gater                which filters run at all
"""
