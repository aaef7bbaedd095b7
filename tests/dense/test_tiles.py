"""Tiles: what they read, evaluate and write."""
