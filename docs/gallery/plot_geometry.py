"""
Shape and field of view
=======================

Every node knows its shape.
"""

import neuromancer as nm

raw = nm.Input((1, 1, 101, 101), "b,f,y,x", name="raw")
