"""Models: a graph of nodes with training, prediction and files; and ready-made networks."""
