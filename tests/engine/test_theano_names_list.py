"""Every function of Theano 1.0.5's ``theano.tensor`` that users call is found under `T`."""

from __future__ import annotations

from operator import attrgetter

import pytest

from neuromancer import engine as E

NAMES = {
    "": """
        Lop Rop abs_ add addbroadcast advanced_boolean_inc_subtensor advanced_boolean_set_subtensor
        advanced_boolean_subtensor advanced_inc_subtensor advanced_inc_subtensor1 advanced_set_subtensor
        advanced_set_subtensor1 advanced_subtensor advanced_subtensor1 all all_dtypes allclose alloc and_ angle
        any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort argtopk as_tensor
        as_tensor_variable bartlett batched_dot batched_tensordot bcol bincount bitwise_and bitwise_not
        bitwise_or bitwise_xor bmatrix brow bscalar btensor3 btensor4 btensor5 btensor6 btensor7 bvector cast
        ccol ceil ceil_intdiv chi2sf choose clip cmatrix col cols complex complex_dtypes complex_from_polar
        concatenate conj consider_constant constant continuous_dtypes cos cosh cov crow cscalar ctensor3
        ctensor4 ctensor5 ctensor6 ctensor7 cumprod cumsum cvector dcol dcols default deg2rad diag diagonal
        discrete_dtypes divmod dmatrices dmatrix dot drow drows dscalar dscalars dtensor3 dtensor3s dtensor4
        dtensor4s dtensor5 dtensor5s dtensor6 dtensor6s dtensor7 dtensor7s dvector dvectors eq erf erfc erfcinv
        erfcx erfinv exp exp2 expm1 eye fcol fcols fill fill_diagonal fill_diagonal_offset flatnonzero flatten
        float_dtypes floor floor_div fmatrices fmatrix frow frows fscalar fscalars ftensor3 ftensor3s ftensor4
        ftensor4s ftensor5 ftensor5s ftensor6 ftensor6s ftensor7 ftensor7s fvector fvectors gamma gammainc
        gammaincc gammal gammaln gammau ge get_scalar_constant_value get_vector_length grad gt hessian
        horizontal_stack i0 i1 icol icols identity_like imag imatrices imatrix inc_subtensor int_div int_dtypes
        integer_dtypes inv inverse_permutation invert irecv iround irow irows iscalar iscalars isclose isend
        isinf isinf_ isnan isnan_ itensor3 itensor3s itensor4 itensor4s itensor5 itensor5s itensor6 itensor6s
        itensor7 itensor7s iv ivector ivectors j0 j1 jacobian join jv largest lcol lcols le lmatrices lmatrix
        load log log10 log1p log2 lrow lrows lscalar lscalars lt ltensor3 ltensor3s ltensor4 ltensor4s ltensor5
        ltensor5s ltensor6 ltensor6s ltensor7 ltensor7s lvector lvectors matrices matrix max max_and_argmax
        maximum mean mgrid min minimum mod mul neg neq nonzero nonzero_values ogrid ones ones_like or_ outer
        patternbroadcast permute_row_elements pow power prod psi ptp rad2deg ravel_multi_index real recv
        register_transfer repeat reshape roll round round_half_away_from_zero round_half_to_even row rows scalar
        scalars send set_subtensor sgn shape shape_padaxis shape_padleft shape_padright sin sinh smallest sort
        specify_shape split sqr sqrt square squeeze stack stacklists std sub sum swapaxes switch take tan tanh
        tensor tensor3 tensor3s tensor4 tensor4s tensor5 tensor5s tensor6 tensor6s tensor7 tensor7s tensor_copy
        tensordot tile topk topk_and_argtopk transfer transpose tri tri_gamma tril triu true_div trunc
        uint_dtypes unbroadcast unravel_index var vector vectors verify_grad vertical_stack wcol where wmatrix
        wrow wscalar wtensor3 wtensor4 wtensor5 wtensor6 wtensor7 wvector xor zcol zeros zeros_like zmatrix zrow
        zscalar ztensor3 ztensor4 ztensor5 ztensor6 ztensor7 zvector
    """,
    "extra_ops": """
        bartlett bincount compress cumprod cumsum diff fill_diagonal fill_diagonal_offset ravel_multi_index
        repeat searchsorted squeeze to_one_hot unravel_index
    """,
    "nlinalg": """
        alloc_diag det diag eig eigh extract_diag lstsq matrix_dot matrix_inverse matrix_power norm pinv qr svd
        tensorinv tensorsolve trace
    """,
    "slinalg": """
        cholesky eigvalsh expm kron solve solve_lower_triangular solve_symmetric solve_upper_triangular
    """,
    "fft": "irfft rfft",
    "fourier": "fft",
    "xlogx": "xlogx xlogy0",
    "nnet": """
        abstract_conv2d batch_normalization binary_crossentropy categorical_crossentropy confusion_matrix conv2d
        conv2d_grad_wrt_inputs conv2d_transpose conv3d crossentropy_categorical_1hot
        crossentropy_categorical_1hot_grad crossentropy_softmax_1hot crossentropy_softmax_1hot_with_bias
        crossentropy_softmax_1hot_with_bias_dx crossentropy_softmax_argmax_1hot_with_bias
        crossentropy_softmax_max_and_argmax_1hot crossentropy_softmax_max_and_argmax_1hot_with_bias elu
        h_softmax hard_sigmoid logsoftmax logsoftmax_op prepend_0_to_each_row prepend_1_to_each_row
        prepend_scalar_to_each_row relu scalar_sigmoid selu separable_conv2d sigmoid sigmoid_binary_crossentropy
        sigmoid_inplace softmax softmax_grad softmax_graph softmax_op softmax_with_bias softplus softsign
        ultra_fast_sigmoid
    """,
    "nnet.bn": "batch_normalization batch_normalization_test batch_normalization_train",
    "nnet.neighbours": "images2neibs neibs2images",
    "nnet.abstract_conv": """
        bilinear_kernel_1D bilinear_kernel_2D bilinear_upsampling causal_conv1d conv2d conv2d_grad_wrt_inputs
        conv2d_grad_wrt_weights conv3d conv3d_grad_wrt_inputs conv3d_grad_wrt_weights frac_bilinear_upsampling
        separable_conv2d separable_conv3d
    """,
    "nnet.conv": "conv2d",
    "nnet.conv3d2d": "conv3d",
    "nnet.blocksparse": "sparse_block_dot",
    "nnet.ctc": "ctc",
    "signal.pool": "max_pool_2d_same_size pool_2d pool_3d",
    "signal.conv": "conv2d",
    "shared_randomstreams.RandomStreams": """
        binomial choice multinomial normal permutation poisson random_integers seed shuffle_row_elements uniform
        updates
    """,
    "raw_random": "binomial choice multinomial normal permutation poisson random_integers uniform",
}
"""Module -> its functions, types of inputs and lists of dtypes; without classes, and without what modules only use."""

MISSING = {
    "files and messages between processes": "load recv send irecv isend",
    "devices of Theano": "register_transfer",
    "operations behind x[...], set_subtensor and inc_subtensor": """
        advanced_boolean_inc_subtensor advanced_boolean_set_subtensor advanced_boolean_subtensor
        advanced_inc_subtensor advanced_inc_subtensor1 advanced_set_subtensor advanced_set_subtensor1
        advanced_subtensor advanced_subtensor1
    """,
    "operations behind functions of nnet": """
        nnet.crossentropy_categorical_1hot_grad nnet.crossentropy_softmax_1hot_with_bias_dx nnet.logsoftmax_op
        nnet.prepend_0_to_each_row nnet.prepend_1_to_each_row nnet.prepend_scalar_to_each_row nnet.scalar_sigmoid
        nnet.sigmoid_inplace nnet.softmax_grad nnet.softmax_op
    """,
    "needs a library for GPUs": "nnet.ctc.ctc",
    "sparse layers": "nnet.blocksparse.sparse_block_dot",
    "no draws of that kind": "shared_randomstreams.RandomStreams.poisson",
    "T.shared_randomstreams has the same, with a state of its own": """
        raw_random.binomial raw_random.choice raw_random.multinomial raw_random.normal raw_random.permutation
        raw_random.poisson raw_random.random_integers raw_random.uniform
    """,
    "T.fft has transforms": "fourier.fft",
}
"""Why -> names that the default engine does not have."""

EXCEPTIONS = {name for names in MISSING.values() for name in names.split()}
ALL = [f"{module}.{name}".lstrip(".") for module, names in NAMES.items() for name in names.split()]


@pytest.mark.parametrize("name", [name for name in ALL if name not in EXCEPTIONS])
def test_names_exist(name):
    assert attrgetter(name)(E.T) is not None


@pytest.mark.skipif(E.NAME == "theano", reason="Theano has them")
def test_exceptions_are_exceptions():
    assert set(ALL) >= EXCEPTIONS
    for name in sorted(EXCEPTIONS):
        with pytest.raises(AttributeError):
            attrgetter(name)(E.T)
