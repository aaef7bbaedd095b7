"""Geometry of the two dense forms, against networks whose numbers are known."""
