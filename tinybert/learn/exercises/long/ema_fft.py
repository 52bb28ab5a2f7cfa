"""A moving average of any length, by the fast Fourier transform.

An exponential moving average can be computed step by step, s_t = q s_(t-1) + p x_t, or as a
convolution with the kernel k_j = p q^j, the weight of the input of j steps ago:

    y_t = k_0 x_t + k_1 x_(t-1) + ... + k_t x_0          causal: nothing later than t

That is T^2 / 2 products for T steps. The Fourier transform F turns a convolution into a product,
y = F^-1(F x * F k), which takes T log T:

- np.fft.rfft(x, n) is F of real numbers along the last axis, with zeros appended up to n;
- np.fft.irfft(spectrum, n) is its inverse: n real numbers. The spectrum does not say whether n is
  even or odd, so give it.

The trap: with n = T the transform works on a circle of T steps. What leaves it at the end comes in
again at the beginning, and the first steps see the last ones. x and k have T steps each, so their
full convolution has 2T - 1.

The gradients of a convolution are convolutions, with time reversed: see `Convolution`.
"""

import numpy as np

from tinybert import Function


def causal_convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return y (..., T) for x and kernel (..., T), whose other axes broadcast; float64."""
    # TODO: transform both to a circle that is large enough, multiply, transform back, cut.
    # --- solution
    length = x.shape[-1]
    n = 2 * length - 1
    spectrum = np.fft.rfft(x, n) * np.fft.rfft(kernel, n)
    return np.fft.irfft(spectrum, n)[..., :length]
    # --- end


class Convolution(Function):
    """y for x (B, D, T) and one kernel for each feature (D, T)."""

    def forward(self, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        self.x, self.kernel = x, kernel
        return causal_convolution(x, kernel)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        later = dy[..., ::-1]  # dx_t depends on dy_t, dy_(t+1), ...
        dx = causal_convolution(later, self.kernel)[..., ::-1]
        dkernel = causal_convolution(later, self.x)[..., ::-1]
        return dx, dkernel.sum(axis=0)
