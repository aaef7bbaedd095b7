"""Models: a graph of nodes with everything that is done with it, and ready-made networks."""
