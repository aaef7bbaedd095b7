"""
Mistakes, and sizes that fit
============================

A size that does not fit is an error when the node is built. The error names the nearest sizes that do.
"""

import matplotlib.pyplot as plt

import neuromancer as nm


def network(size):
    """Three layers with two pools."""
    nm.model_manager.newmodel()
    out = nm.Input((1, 1, size, size), "b,f,y,x", print_repr=False)
    out = nm.Conv(out, 8, (4, 4), (2, 2), print_repr=False)
    out = nm.Conv(out, 8, (4, 4), (2, 2), print_repr=False)
    return nm.Conv(out, 2, (3, 3), activation_func="lin", print_repr=False)


try:
    network(50)
except nm.errors.ShapeError as error:
    print(error)

# %%
# Which sizes fit, and how large is the output for each?

fitting = {}
for size in range(17, 66):
    try:
        fitting[size] = network(size).shape.spatial_shape[0]
    except nm.errors.ShapeError:
        pass

figure, axes = plt.subplots(figsize=(6, 3))
axes.bar(list(fitting), list(fitting.values()))
axes.set(xlabel="voxels of the input, along each axis", ylabel="voxels of the output")
figure.tight_layout()
