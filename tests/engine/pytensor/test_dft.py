"""Straight-line programs of Fourier transforms agree with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.engine.pytensor.kernels import fourier
from neuromancer.engine.pytensor.kernels.dft import Arithmetic, Complex, Transform, radix


def factors(n):
    """Radices of a length, in the order of decimation."""
    return [] if n == 1 else [radix(n), *factors(n // radix(n))]


def is_smooth(n):
    for r in (2, 3, 5):
        while n % r == 0:
            n //= r
    return n == 1


LENGTHS = [n for n in range(1, 33) if is_smooth(n)]


def numbers(n, seed=0):
    return np.random.default_rng([n, seed]).standard_normal(n)


def value(a):
    return a.re + 1j * (0.0 if a.im is None else a.im)


def test_lengths_are_divided_into_butterflies():
    for n in LENGTHS:
        assert np.prod(factors(n), dtype=int) == n and set(factors(n)) <= {2, 3, 4, 5}
    for n in (7, 11, 1):
        with pytest.raises(StopIteration):
            radix(n)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("inverse", [False, True])
def test_of_complex_numbers(n, inverse):
    x = numbers(n) + 1j * numbers(n, 1)
    y = Transform(Arithmetic(), inverse).full([Complex(a.real, a.imag) for a in x])
    expected = np.fft.ifft(x) * n if inverse else np.fft.fft(x)
    np.testing.assert_allclose([value(a) for a in y], expected, atol=1e-13 * n)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("inverse", [False, True])
def test_numbers_without_an_imaginary_part(n, inverse):
    x = numbers(n)
    y = Transform(Arithmetic(), inverse).full([Complex(a) for a in x])
    np.testing.assert_allclose([value(a) for a in y], np.fft.ifft(x) * n if inverse else np.fft.fft(x), atol=1e-13 * n)


@pytest.mark.parametrize("n", LENGTHS)
def test_of_real_numbers(n):
    x = numbers(n)
    y = Transform(Arithmetic()).of_real(list(x))
    assert len(y) == n // 2 + 1
    np.testing.assert_allclose([value(a) for a in y], np.fft.rfft(x), atol=1e-13 * n)


@pytest.mark.parametrize("n", LENGTHS)
def test_to_real_numbers(n):
    x = np.fft.rfft(numbers(n))
    y = Transform(Arithmetic(), inverse=True).to_real([Complex(a.real, a.imag) for a in x], n)
    np.testing.assert_allclose(y, numbers(n) * n, atol=1e-13 * n)


@pytest.mark.parametrize("n", LENGTHS)
def test_imaginary_parts_of_real_frequencies_are_ignored(n):
    """Where the transform of real data is real, products of transforms have imaginary parts by rounding."""
    x = np.fft.rfft(numbers(n))
    real = [0, n // 2] if n % 2 == 0 else [0]
    half = [Complex(a.real, a.imag + (k in real)) for k, a in enumerate(x)]
    y = Transform(Arithmetic(), inverse=True).to_real(half, n)
    np.testing.assert_allclose(y, np.fft.irfft(x, n) * n, atol=1e-13 * n)


class Counted(Arithmetic):
    """Counts additions and multiplications."""

    def __init__(self):
        self.count = 0

    def add(self, a, b):
        self.count += 1
        return a + b

    sub = add

    def scale(self, a, factor):
        self.count += 1
        return a


@pytest.mark.parametrize("n", [8, 12, 16, 20, 24])
def test_real_numbers_take_about_half_as_long(n):
    whole, half = Counted(), Counted()
    Transform(whole).full([Complex(1.0, 1.0)] * n)
    Transform(half).of_real([1.0] * n)
    assert half.count < 0.6 * whole.count
    assert whole.count < 5 * n * np.log2(n), "the definition would take 8 n ** 2"


def test_there_is_a_program_for_every_tile_size():
    assert set(fourier.SIZES) <= set(LENGTHS)
