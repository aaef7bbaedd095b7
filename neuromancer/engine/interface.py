"""What every symbolic engine provides: the contract between nodes and engines.

Nodes, optimisers and models are written against these names only, so an engine is a package
``neuromancer.engine.<name>`` that defines all of them. Tensors have the axis order (batch, channels, *spatial).

===================  ==========================================================================================
name                 meaning
===================  ==========================================================================================
NAME                 name of the engine
T                    namespace of tensor functions: elementwise, reductions, indexing, shapes
Variable, Constant   classes of symbolic variables and constants, for isinstance
CompiledFunction     class of what `function` returns; has ``counters.uploads`` and ``counters.downloads``,
                     ``expect(work)`` and ``release()``; ``start(*arguments)`` begins a call, and ``result()`` of what
                     it returns waits for it: at once where `calls_under_way` is 1
ConstantVariable     ``ConstantVariable(value, name)``: symbolic constant that can be subclassed
SharedVariable       ``SharedVariable(value, name)``: symbolic variable with a value; ``get_value``, ``set_value``;
                     ``snapshot()``: the value, left where it is, and ``restore(snapshot)``
RandomStream         ``RandomStream(seed)``: ``normal``, ``uniform``, ``bernoulli``, ``reseed``,
                     ``get_state``, ``set_state``
tensor               ``tensor(name, shape, dtype)``: symbolic input; None in the shape is an unknown size
generic              ``generic(name)``: symbolic input that takes any Python object
calls_under_way      ``calls_under_way()``: calls of a function that may be started on the configured device
                     before the result of the first is fetched, so that copies and computation overlap
constant             ``constant(value, name, dtype)``
fence                ``fence(x)``: x, as something that simplification does not look into: what is computed from it
                     and what it is computed from are not merged into one sum or product
free_memory          ``free_memory()``: bytes free on the configured device; None if that is the host
function             ``function(inputs, outputs, updates, name, backend, precision)``: compile for the
                     configured device
grad                 ``grad(cost, wrt)``: gradients, None where disconnected
disconnected_grad    ``disconnected_grad(x)``: x, constant to gradients
conv                 ``conv(x, w, stride, dilation, pad)``: cross-correlation over 1 to 3 spatial axes
conv_cost            ``conv_cost(x_shape, w_shape, dilation, dtype)``: (work, bytes kept, bytes of scratch) of a
                     convolution without padding: work in products of a direct one
conv_transpose       ``conv_transpose(x, w, stride, dilation, pad)``: its adjoint at full size
known_shape          ``known_shape(x)``: sizes, None where known only at run time; None if x is no tensor
maximin_pairs        ``maximin_pairs(affinity, target, labels, neighbourhood, unrestricted)``: pairs per edge
pool                 ``pool(x, size, stride, dilation, mode)``: 'max', 'average' or 'sum' of valid windows
pool_copies          ``pool_copies(axes, dtype)``: arrays beside the one that 'max' takes windows of, by number of axes
relu                 ``relu(x)``: max(x, 0) of floats, with gradient 0 at 0
softmax              ``softmax(x, axis)``
log_softmax          ``log_softmax(x, axis)``
scan                 ``scan(fn, sequences, initial, non_sequences, n_steps, ...)``: symbolic loop
rewire               ``rewire(outputs, {old: new})``: outputs with variables replaced
view_of              ``view_of(x)``: (variable, steps) if x is that variable transposed or sliced, else None
apply_view           ``apply_view(variable, steps)``: the reverse; steps are lists of numbers and strings
building             context manager under which graphs are built: Python floats get the configured precision
draw                 ``draw(target, path, fmt, **options)``: picture of a graph
dot_text             ``dot_text(target)``: the graph as DOT source
===================  ==========================================================================================
"""

from __future__ import annotations

NAMES = (
    "NAME",
    "CompiledFunction",
    "Constant",
    "ConstantVariable",
    "RandomStream",
    "SharedVariable",
    "T",
    "Variable",
    "apply_view",
    "building",
    "calls_under_way",
    "constant",
    "conv",
    "conv_cost",
    "conv_transpose",
    "disconnected_grad",
    "dot_text",
    "draw",
    "fence",
    "free_memory",
    "function",
    "generic",
    "grad",
    "known_shape",
    "log_softmax",
    "maximin_pairs",
    "pool",
    "pool_copies",
    "relu",
    "rewire",
    "scan",
    "softmax",
    "tensor",
    "view_of",
)
"""Every name of the interface."""
