"""The functions of `tf` that the documents use, and the gradient tape."""

from __future__ import annotations

import numpy as np
import pytest

import tinybert
import tinybert.frontends.tensorflow as tf

X = np.random.default_rng(2).normal(size=(2, 3, 5)).astype(np.float32)


def test_constant() -> None:
    assert tf.constant(1).shape == ()
    assert tf.constant([1, 2], dtype="float32").dtype == np.float32
    np.testing.assert_array_equal(tf.constant(7, shape=(2, 3)).numpy(), np.full((2, 3), 7))
    np.testing.assert_array_equal(tf.constant([1, 2], shape=(2, 1)).numpy(), [[1], [2]])


def test_where_and_gather_nd() -> None:
    indices = tf.where(X > 0)
    np.testing.assert_array_equal(indices.numpy(), np.argwhere(X > 0))
    np.testing.assert_array_equal(tf.gather_nd(X, indices).numpy(), X[X > 0])
    rows = tf.where(tf.constant([False, True]))
    np.testing.assert_array_equal(tf.gather_nd(X, indices=rows).numpy(), X[[1]])
    np.testing.assert_array_equal(tf.where(X > 0, X, -100).numpy(), np.where(X > 0, X, -100))
    with pytest.raises(ValueError, match="where needs both x and y"):
        tf.where(X > 0, X)


def test_argmax_and_reduce_mean() -> None:
    assert tf.math.argmax is tf.argmax
    for axis in (0, -1, 1):
        np.testing.assert_array_equal(tf.argmax(X, axis=axis).numpy(), X.argmax(axis))
        found = tf.math.reduce_mean(X, axis=axis, keepdims=True).numpy()
        np.testing.assert_allclose(found, X.mean(axis, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(tf.argmax(X).numpy(), X.argmax(0))  # of the first axis
    assert float(tf.reduce_mean(X)) == pytest.approx(X.mean())
    assert tf.expand_dims(X, 0).shape == (1, 2, 3, 5)


def test_a_tape_leaves_the_gradients_of_the_weights() -> None:
    x = tinybert.Tensor(X, requires_grad=True)
    other = tinybert.Tensor(X, requires_grad=True)
    x.grad = tinybert.Tensor(X)
    with tf.GradientTape() as tape:
        y = x * x
    first, none = tape.gradient(y, [x, other])
    np.testing.assert_allclose(first.numpy(), 2 * X, rtol=1e-6)
    assert none is None
    np.testing.assert_array_equal(x.grad.numpy(), X)
    np.testing.assert_array_equal(tape.gradient(x * 3, x).numpy(), np.full_like(X, 3))
    assert tape.gradient((x * other).sum(), x) is not None
    assert other.grad is None  # nor of weights that are not among the sources
    with pytest.raises(RuntimeError, match="does not depend on a weight"):
        tape.gradient(tinybert.Tensor(X), x)
