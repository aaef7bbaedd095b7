"""
Drawing of a model
==================

``model.plot("net.html")`` draws a page to look around in; other suffixes make pictures by graphviz. Both come from a
plain description of the graph, from which anything else can be drawn, too.
"""

import matplotlib.pyplot as plt

import neuromancer as nm

model = nm.model_manager.newmodel("unet")
raw = nm.Input((None, 1, 92, 92), "b,f,y,x", name="raw", print_repr=False)
fine = nm.Conv(raw, 16, (3, 3), name="fine", print_repr=False)
middle = nm.Conv(nm.Pool(fine, (2, 2), name="half", print_repr=False), 32, (4, 4), name="middle", print_repr=False)
coarse = nm.Conv(nm.Pool(middle, (2, 2), name="quarter", print_repr=False), 64, (3, 3), name="coarse", print_repr=False)
both = nm.UpConvMerge(middle, coarse, 32, print_repr=False)
both = nm.UpConvMerge(fine, nm.Conv(both, 32, (3, 3), name="up", print_repr=False), 16, print_repr=False)
probs = nm.Softmax(nm.Conv(both, 2, (1, 1), activation_func="lin", print_repr=False), name="probs", print_repr=False)
model.designate_nodes("raw", prediction_node=probs)
picture = model.plot()

# %%
# The page, in a frame:

picture

# %%
# Where does the time go?

shares = {node.name: node.cost_share for node in picture.graph.nodes if node.cost_share > 0.005}
figure, axes = plt.subplots(figsize=(6, 3.2))
axes.barh(list(shares), [100 * share for share in shares.values()])
axes.invert_yaxis()
axes.set_xlabel("multiply-accumulates (%)")
figure.tight_layout()
