"""Optimisers, their meta-parameters, and the graph that they train."""
