"""
Dense prediction is the answer for the whole image
==================================================

A network with strides gives one value in every fourth voxel. ``predict_dense`` gives all of them: the value in a voxel
is that of the network on the field of view around it, whatever the tiles.
"""

import matplotlib.pyplot as plt
import numpy as np

import neuromancer as nm

nm.seed(0)
nm.model_manager.newmodel("exact")
raw = nm.Input((1, 1, 33, 33), "b,f,y,x", name="raw", print_repr=False)
out = nm.Conv(raw, 8, (4, 4), (2, 2), activation_func="tanh", print_repr=False)
out = nm.Conv(out, 8, (4, 4), (2, 2), activation_func="tanh", print_repr=False)
out = nm.Conv(out, 1, (3, 3), activation_func="lin", print_repr=False)

rows, columns = np.indices((110, 160))
image = np.sin(rows * columns / 300)[None].astype("float32")
dense = out.predict_dense(image, pad_raw=True)[0]
tiled = out.predict_dense(image, pad_raw=True, tile=(16, 16))[0]
print("largest difference between tilings:", abs(dense - tiled).max())

# %%
# The network itself, on one patch, gives every fourth of these voxels.

strided = out(image[None, :, 20:53, 60:93])[0, 0]
start = np.array([20, 60]) + out.shape.offsets
same = dense[start[0] :: 4, start[1] :: 4][: strided.shape[0], : strided.shape[1]]
print("largest difference from the network on a patch:", abs(same - strided).max())

figure, axes = plt.subplots(1, 3, figsize=(11, 2.9))
for panel, picture, title in zip(axes, (image[0], strided, dense), ("image", "network on a patch", "dense prediction")):
    panel.imshow(picture, cmap="gray")
    panel.set(title=f"{title}, {picture.shape[0]} × {picture.shape[1]}", xticks=[], yticks=[])
figure.tight_layout()
