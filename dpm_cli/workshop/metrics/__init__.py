"""Pure measures of error on plain numpy arrays; whoever calls them aligns frames and scale first.

A measure of nothing (no valid pixel) is NaN, never 0: the tables leave it out.
"""
