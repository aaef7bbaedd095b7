"""Gated recurrent cells: each node computes one step, which :func:`~neuromancer.nodes.scan.Scan` repeats."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.nodes.elementwise import FUNCTIONS
from neuromancer.nodes.layout import as_float, require_features, require_tensor
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.node import Node
from neuromancer.nodes.perceptron import dot_features


class _Cell(NeuralLayer):
    """Base of GRU and LSTM: checks, weights over [memory, input], gates as blocks of columns."""

    n_blocks: int
    """Number of column blocks of the weights, `n_f` columns each."""
    n_states: int
    """Number of states in the memory, `n_f` features each."""

    def __init__(
        self,
        parent: Node,
        memory: Node,
        n_f: int,
        activation_func: str,
        flatten: bool,
        batch_normalisation: bool | str | None,
        dropout_rate: float,
        name: str,
        print_repr: bool,
        w: Any,
        b: Any,
        gamma: Any,
        mean: Any,
        std: Any,
        gradnet_mode: Any,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._refuse_options(flatten=flatten, batch_normalisation=batch_normalisation, dropout_rate=dropout_rate)
        self._setup(n_f, activation_func, False, 0, gradnet_mode)
        if not self.activation.is_elementwise:
            raise ArgumentError(
                "not available for recurrent cells",
                node=self,
                got=f"activation_func={activation_func!r}",
                expected=f"one of {tuple(FUNCTIONS)}",
                nearest="'tanh'",
            )
        shape = require_tensor(parent, self)
        require_tensor(memory, self, "the memory")
        self.parent = (parent, memory)
        self.n_in = require_features(parent, self)
        self._check_axes(parent, memory)
        self.axis = shape.tag2index("f")
        given = {"w": w, "b": b, "gamma": gamma, "mean": mean, "std": std}
        self._make_params((self.n_f + self.n_in, self._n_bias), {"mode": "ortho"}, 1, given)

    def _refuse_options(self, **options: Any) -> None:
        for key, value in options.items():
            if value:
                raise ArgumentError("not available for recurrent cells", node=self, got=f"{key}={value!r}")

    def _check_axes(self, parent: Node, memory: Node) -> None:
        shape, states = parent.shape, self.n_states * self.n_f
        if shape.hastag("r"):
            raise ShapeError(
                "a recurrent cell computes one step; its input must have no axis r",
                node=self,
                got=",".join(shape.tags),
                nearest="a part of split(node, axis='r', strip_singleton_dims=True)",
            )
        if shape.tag2index("f") == 0:
            raise ShapeError("the features must not be on the first axis", node=self, got=",".join(shape.tags))
        if require_features(memory, self, "the memory") != states:
            raise ShapeError(
                "the memory has the wrong number of features",
                node=self,
                got=f"{memory.name}: f={memory.shape['f']}",
                expected=f"f={states}" + (f" (hidden and cell, n_f={self.n_f} each)" if self.n_states > 1 else ""),
            )
        tags = list(memory.shape.tags)
        fits = tags == [t for t in shape.tags if t in tags] and all(
            t == "f" or memory.shape[t] in (1, None) or shape[t] in (memory.shape[t], None) for t in tags
        )
        if not fits:
            raise ShapeError(
                "the axes of the memory do not match those of the input",
                node=self,
                got=f"memory {memory.shape!r}, input {shape!r}",
                expected="the input's axes (some may be missing) in the same order, with the same sizes or 1",
            )

    @property
    def _n_bias(self) -> int:
        return self.n_blocks * self.n_f

    def _features(self, x: Any, start: int, stop: int) -> Any:
        return x[(*[slice(None)] * self.axis, slice(start, stop))]

    def _state(self, i: int) -> Any:
        """Return state i of the memory, broadcastable against the input."""
        shape, memory = self.parent[0].shape, self.parent[1].shape
        repeated = [t for t in memory.tags if t != "f" and memory[t] == 1 != shape[t]]
        tags = [t for t in memory.tags if t not in repeated]
        m = as_float(self.parent[1].output)[tuple(0 if t in repeated else slice(None) for t in memory.tags)]
        m = m.dimshuffle(*(tags.index(t) if t in tags else "x" for t in shape.tags))
        return self._features(m, i * self.n_f, (i + 1) * self.n_f)

    def _columns(self, memory: Any, x: Any, first: int, stop: int) -> Any:
        """Compute ``W [memory, x] + b`` for the column blocks from `first` up to `stop`."""
        columns = slice(first * self.n_f, stop * self.n_f)
        bias = self.b[columns].dimshuffle(*(0 if i == self.axis else "x" for i in range(x.ndim)))
        from_memory = dot_features(memory, self.w[: self.n_f, columns], self.axis)
        return from_memory + dot_features(x, self.w[self.n_f :, columns], self.axis) + bias

    def _block(self, x: Any, i: int) -> Any:
        return self._features(x, i * self.n_f, (i + 1) * self.n_f)

    def _calc_shape(self) -> None:
        self.shape = self.parent[0].shape.updateshape("f", self.n_states * self.n_f)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = self.n_blocks * int(np.prod(self.parent[0].shape.stripnone)) * self.n_f

    def _repr_extra(self) -> str:
        return f"n_f={self.n_f}, {self._repr_options()}"


class GRU(_Cell):
    """One step of a gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

    With memory m, input x, concatenation of features ``[ , ]`` and elementwise product ``*``::

        z, r = sigmoid(W_zr [m, x] + b_zr)
        h    = act(W_h [r * m, x] + b_h)
        out  = (1 - z) * m + z * h

    Parameters
    ----------
    parent : Node
        Input of this step, with an axis f that is not the first and no axis r.
    memory_state : Node
        State before the step, `n_f` features, with the input's axes in the same order. Missing axes and axes of size 1
        are broadcast.
    n_f : int
        Number of features of the state.
    activation_func : str
        Name of the activation function; not prelu, log_softmax or maxout.
    flatten, batch_normalisation, dropout_rate
        Not available: present for uniformity with other layers, refused unless false or 0.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Weights, (n_f + n_in, 3 n_f): rows [memory, input], columns [z, r, h]. Default: orthogonal.
    b : see NeuralLayer, optional
        Bias, (3 n_f,), in the order of the columns of `w`.
    gamma, mean, std : optional
        Not available, as `batch_normalisation`.
    gradnet_mode : optional
        See :class:`Perceptron`; parameter ``gradnet_rate`` has no effect here.

    Raises
    ------
    ArgumentError
        For an option or activation function that is not available.
    ShapeError
        If the memory does not match the input and `n_f`, or the input has an axis r.

    Notes
    -----
    The cost is three times the number of input elements times `n_f`. Debug outputs: m, out, z, r.

    Examples
    --------
    >>> from neuromancer import InitialState_like, Input
    >>> inp = Input((2, 5), "b,f", print_repr=False)
    >>> GRU(inp, InitialState_like(inp, 3, print_repr=False), 3, print_repr=False).shape
    [(2,b), (3,f)]
    """

    n_blocks = 3
    n_states = 1

    def __init__(
        self,
        parent: Node,
        memory_state: Node,
        n_f: int,
        activation_func: str = "tanh",
        flatten: bool = False,
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "gru",
        print_repr: bool = True,
        w: Any = None,
        b: Any = None,
        gamma: Any = None,
        mean: Any = None,
        std: Any = None,
        gradnet_mode: Any = None,
    ) -> None:
        self.memory_state = memory_state
        super().__init__(
            parent,
            memory_state,
            n_f,
            activation_func,
            flatten,
            batch_normalisation,
            dropout_rate,
            name,
            print_repr,
            w,
            b,
            gamma,
            mean,
            std,
            gradnet_mode,
        )

    def _make_output(self) -> None:
        x, m = as_float(self.parent[0].output), self._state(0)
        gates = E.T.sigmoid(self._columns(m, x, 0, 2))
        z, r = self._block(gates, 0), self._block(gates, 1)
        h = self.activation(self._columns(r * m, x, 2, 3), self.axis)
        self.output = (1 - z) * m + z * h
        self._debug_outputs = [m, self.output, z, r]


class LSTM(_Cell):
    """One step of a long short-term memory without peepholes (Hochreiter & Schmidhuber 1997, Gers et al. 2000).

    With hidden state h, cell state c and input x::

        f, i, o = sigmoid(W_fio [h, x] + b_fio)
        c'      = f * c + i * act(W_c [h, x] + b_c)
        h'      = o * act(c')
        out     = [h', c']

    Parameters
    ----------
    parent, activation_func, flatten, batch_normalisation, dropout_rate, name, print_repr
        See :class:`GRU`.
    gamma, mean, std, gradnet_mode
        See :class:`GRU`.
    memory_states : Node
        State before the step: `n_f` features of h, then `n_f` of c, with the input's axes in the same order. Missing
        axes and axes of size 1 are broadcast.
    n_f : int
        Number of features of h and of c; the output has 2 n_f.
    w : see NeuralLayer, optional
        Weights, (n_f + n_in, 4 n_f): rows [h, input], columns [f, i, o, c]. Default: orthogonal.
    b : see NeuralLayer, optional
        Bias, (4 n_f,), in the order of the columns of `w`.

    Raises
    ------
    ArgumentError
        For an option or activation function that is not available.
    ShapeError
        If the memory does not match the input and `n_f`, or the input has an axis r.

    Notes
    -----
    The cost is four times the number of input elements times `n_f`. Debug outputs: f, i, o.

    Examples
    --------
    >>> from neuromancer import InitialState_like, Input
    >>> inp = Input((2, 5), "b,f", print_repr=False)
    >>> LSTM(inp, InitialState_like(inp, 6, print_repr=False), 3, print_repr=False).shape
    [(2,b), (6,f)]
    """

    n_blocks = 4
    n_states = 2

    def __init__(
        self,
        parent: Node,
        memory_states: Node,
        n_f: int,
        activation_func: str = "tanh",
        flatten: bool = False,
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "lstm",
        print_repr: bool = True,
        w: Any = None,
        b: Any = None,
        gamma: Any = None,
        mean: Any = None,
        std: Any = None,
        gradnet_mode: Any = None,
    ) -> None:
        self.memory_states = memory_states
        super().__init__(
            parent,
            memory_states,
            n_f,
            activation_func,
            flatten,
            batch_normalisation,
            dropout_rate,
            name,
            print_repr,
            w,
            b,
            gamma,
            mean,
            std,
            gradnet_mode,
        )

    def _make_output(self) -> None:
        x, h, c = as_float(self.parent[0].output), self._state(0), self._state(1)
        linear = self._columns(h, x, 0, 4)
        gates = E.T.sigmoid(self._features(linear, 0, 3 * self.n_f))
        forget, write, read = (self._block(gates, i) for i in range(3))
        cell = forget * c + write * self.activation(self._block(linear, 3), self.axis)
        self.output = E.T.concatenate([read * self.activation(cell, self.axis), cell], axis=self.axis)
        self._debug_outputs = [forget, write, read]
