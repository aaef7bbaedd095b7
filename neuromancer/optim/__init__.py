"""Optimisers, their meta-parameters, and the trainable graph."""
