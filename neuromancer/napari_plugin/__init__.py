"""Plugin for napari: opens volumes, predicts layers, and trains models with painted labels.

File -> :mod:`reader` -> layers -> :mod:`placed` -> ``predict_dense`` in a :mod:`task` -> layers. napari reads what the
plugin has from ``napari.yaml``, and imports a module when it is used.
"""
