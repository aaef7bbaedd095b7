"""
Shape and field of view
=======================

A node knows more than its size: the *field of view* of a voxel, the *strides* between voxels, and the *offset* of the
first, all in voxels of the image.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import neuromancer as nm

nm.model_manager.newmodel("geometry")
raw = nm.Input((1, 1, 64, 64), "b,f,y,x", name="raw", print_repr=False)
out = nm.Conv(raw, 8, (5, 5), (2, 2), name="first", print_repr=False)
out = nm.Conv(out, 8, (3, 3), (2, 2), name="second", print_repr=False)
out = nm.Conv(out, 2, (3, 3), name="third", print_repr=False)
for name in ("raw", "first", "second", "third"):
    print(f"{name:8}{nm.model_manager.current[name].shape.ext_repr}")

# %%
# Output voxel i is computed from the raw voxels that start at ``strides * i`` and lies at ``offsets + strides * i``.
# Here are all voxels of the last layer, and the field of view of two of them.

shape = out.shape
image = np.random.default_rng(0).random((64, 64))
figure, axes = plt.subplots(figsize=(5, 5))
axes.imshow(image, cmap="gray", alpha=0.4)
rows, columns = (o + s * np.arange(n) for o, s, n in zip(shape.offsets, shape.strides, shape.spatial_shape))
axes.plot(*np.meshgrid(columns, rows), ".", color="tab:blue")
for index, colour in ((0, "tab:orange"), (6, "tab:red")):
    start = index * shape.strides - 0.5
    axes.add_patch(Rectangle(start[::-1], *shape.fov[::-1], fill=False, color=colour, linewidth=2))
    axes.plot(columns[index], rows[index], "o", color=colour)
axes.set(title=f"field of view {shape.fov}, strides {shape.strides.tolist()}", xticks=[], yticks=[])
figure.tight_layout()
