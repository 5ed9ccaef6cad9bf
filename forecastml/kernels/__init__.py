"""Arithmetic on (values, begin, end), vectorised over series; no classes.

Every kernel gives a series the same bits alone as among others: time runs along the first axis, series along the
last, and sums over time are explicit loops, per-axis cumsum or bincount, never pairwise.
"""
