"""Tests of the training data package."""
