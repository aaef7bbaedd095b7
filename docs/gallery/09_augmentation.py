"""
Augmentation
============

Flips, rotations and warps are composed into one map before anything is read: raw data is interpolated once, and labels
stay those of the voxels that the network predicts.
"""

import matplotlib.pyplot as plt
import numpy as np

import neuromancer as nm
from neuromancer.train import Flip, GreyValues, Noise, PatchSampler, Rotate90, Warp

model = nm.model_manager.newmodel("augmentation")
raw = nm.Input((1, 1, 97, 97), "b,f,y,x", name="raw", print_repr=False)
hidden = nm.Conv(raw, 4, (9, 9), print_repr=False)
probs = nm.Softmax(nm.Conv(hidden, 2, (1, 1), activation_func="lin", print_repr=False), print_repr=False)
target = nm.Input_like(probs, "int16", override_f=1, name="target", print_repr=False)
nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
model.designate_nodes("raw", target, nm.AggregateLoss([nll], print_repr=False), probs)

rows, columns = np.indices((300, 300))
labels = ((rows // 20 + columns // 20) % 2).astype("int16")
image = (0.25 + 0.5 * labels).astype("float32")

# %%
# A batch depends on the seed and the step alone. The outline is that of the labels, at the voxels of the output.

kinds = {
    "as it is": [],
    "Flip, Rotate90": [Flip(), Rotate90("yx")],
    "Warp": [Warp(rotation=180, scaling=0.2, elastic=4)],
    "and GreyValues, Noise": [Warp(rotation=180, scaling=0.2, elastic=4), GreyValues(0.4, 0.2, 0.3), Noise(0.05)],
}
figure, axes = plt.subplots(1, 4, figsize=(13, 3.5))
for panel, (title, augment) in zip(axes, kinds.items()):
    patch, truth = PatchSampler(model, (image, labels), augment=augment, seed=3).batch(0)
    panel.imshow(patch[0, 0], cmap="gray", vmin=0, vmax=1)
    panel.contour(*np.meshgrid(*(np.arange(89) + 4,) * 2), truth[0, 0], [0.5], colors="tab:orange", linewidths=1)
    panel.set(title=title, xticks=[], yticks=[])
figure.tight_layout()
