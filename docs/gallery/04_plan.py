"""
The plan of a large volume
==========================

Before a prediction of hours, look at its plan: tiles, memory and time follow from the graph, for a petabyte, too.
"""

import matplotlib.pyplot as plt

import neuromancer as nm

nm.model_manager.newmodel("plan")
raw = nm.Input((None, 1, 21, 101, 101), "b,f,z,y,x", print_repr=False)
out = nm.Conv(raw, 16, (1, 4, 4), (1, 2, 2), print_repr=False)
out = nm.Conv(out, 32, (3, 3, 3), print_repr=False)
probs = nm.Softmax(nm.Conv(out, 2, (1, 1, 1), activation_func="lin", print_repr=False), print_repr=False)
volume = (1, 1000, 4000, 4000)
print(probs.plan_dense(volume, memory="4GB", as_uint8=True))

# %%
# More memory means larger tiles, and fewer voxels that are computed for two of them.

budgets = [0.25, 1, 4]
tiles = [probs.plan_dense(volume, memory=gigabytes * 1e9).tile_shape[1:] for gigabytes in budgets]
figure, axes = plt.subplots(figsize=(6, 3.2))
for number, axis in enumerate("zyx"):
    places = [place + (number - 1) * 0.27 for place in range(len(budgets))]
    axes.bar(places, [tile[number] for tile in tiles], width=0.25, label=axis)
axes.set(xlabel="memory (GB)", ylabel="voxels of a tile", xticks=range(len(budgets)), xticklabels=budgets)
axes.legend()
figure.tight_layout()
