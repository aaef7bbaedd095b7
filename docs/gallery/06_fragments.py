"""
Strides, and max-fragment pooling
=================================

A pool throws away all but one phase. *Max-fragment pooling* (MFP) keeps all of them, as items of the batch, and
``FragmentsToDense`` puts them together: a dense result of the graph itself.
"""

import matplotlib.pyplot as plt
import numpy as np

import neuromancer as nm

kernel = np.ones((1, 1, 3, 3), "float32") / 9


def network(size, mfp):
    """One convolution with pooling, with or without fragments."""
    nm.model_manager.newmodel()
    raw = nm.Input((1, 1, size, size), "b,f,y,x", print_repr=False)
    return nm.Conv(raw, 1, (3, 3), (3, 3), mfp=mfp, w=kernel, activation_func="lin", print_repr=False)


strided, fragments = network(62, mfp=False), network(61, mfp=True)
dense = nm.FragmentsToDense(fragments, print_repr=False)
for node in (strided, fragments, dense):
    print(node.shape)

# %%
# ``predict_dense`` does the same for a network without fragments, and for images of any size.

rows, columns = np.indices((62, 62))
image = (np.hypot(rows - 30, columns - 25) % 14 < 5)[None].astype("float32")
results = {
    "image": image[0],
    "strided": strided(image[None])[0, 0],
    "three of nine fragments": np.hstack(fragments(image[None, :, :61, :61])[:3, 0]),
    "fragments put together": dense(image[None, :, :61, :61])[0, 0],
    "predict_dense": strided.predict_dense(image)[0],
}
figure, axes = plt.subplots(1, 5, figsize=(14, 3), width_ratios=[1, 1, 2, 1, 1])
for panel, (title, picture) in zip(axes, results.items()):
    panel.imshow(picture, cmap="gray")
    panel.set(title=title, xticks=[], yticks=[])
figure.tight_layout()
rest = results["predict_dense"][: len(results["fragments put together"])]
print("largest difference:", abs(rest[:, : rest.shape[0]] - results["fragments put together"]).max())
