"""Blended sliding-window prediction.

Flow: patches of the image -> network -> rolling weighted sums -> finished tiles, by the pipeline of dense prediction.
"""
