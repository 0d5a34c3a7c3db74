"""Tiny networks and Grad-CAM in NumPy, in double precision."""

import itertools

import keras
import numpy as np


def weights_of(model, layer):
    """The weights of a layer at any depth, float64."""
    (found,) = [
        each
        for each in model._flatten_layers()
        if each.name == layer and not isinstance(each, keras.Model)
    ]
    return [
        keras.ops.convert_to_numpy(weight).astype("float64")
        for weight in found.weights
    ]


def convolve(x, kernel, bias=0.0):
    """'same' convolution of stride 1; kernel (3, 3, in, out)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    total = bias
    for i, j in itertools.product(range(3), range(3)):
        part = padded[:, i : i + height, j : j + width]
        total = total + part @ kernel[i, j]
    return total


def normalize(x, gamma, beta, mean, variance):
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def relu(x):
    return np.maximum(x, 0)


def pool(x):
    return x.mean(axis=(1, 2))


def branch(model, name, x):
    """The map of a network of `builders.subnetwork`."""
    x = convolve(x, *weights_of(model, f"{name}_conv"))
    return relu(normalize(x, *weights_of(model, f"{name}_bn")))


def dense(model, layer, features):
    kernel, bias = weights_of(model, layer)
    return pool(features) @ kernel + bias


def fuse(model, maps):
    """The fusion module."""
    (
        depthwise,
        *first_norm,
        pointwise,
        gamma,
        beta,
        mean,
        variance,
    ) = fusion_weights(model)
    x = np.concatenate(maps, axis=-1)
    depthwise = depthwise[..., 0]  # (3, 3, M)
    diagonal = depthwise[..., None] * np.eye(x.shape[-1])
    x = relu(normalize(convolve(x, diagonal), *first_norm))
    x = x @ pointwise[0, 0]
    return relu(normalize(x, gamma, beta, mean, variance))


def fusion_weights(model):
    layers = (
        model.fusion.depthwise,
        model.fusion.depthwise_bn,
        model.fusion.pointwise,
        model.fusion.pointwise_bn,
    )
    return [
        keras.ops.convert_to_numpy(weight).astype("float64")
        for layer in layers
        for weight in layer.weights
    ]


def differences(function, x, step=1e-5):
    """Central differences of a function (batch, ...) -> (batch,)."""
    gradients = np.zeros_like(x)
    for index in np.ndindex(x.shape[1:]):
        moved = x.copy(), x.copy()
        for each, sign in zip(moved, (1, -1)):
            each[(slice(None), *index)] += sign * step
        above, below = (function(each) for each in moved)
        gradients[(slice(None), *index)] = (above - below) / (2 * step)
    return gradients


def grad_cam(features, gradients):
    """Equations (1) and (2) of the paper, place by place."""
    count, height, width, channels = features.shape
    maps = np.zeros((count, height, width))
    for n in range(count):
        for k in range(channels):
            alpha = 0.0
            for i, j in itertools.product(range(height), range(width)):
                alpha += gradients[n, i, j, k] / (height * width)
            maps[n] += alpha * features[n, :, :, k]
    return relu(maps)


def grad_cam_plus_plus(features, gradients, logit):
    """Equations (10) and (19) for Y = exp(logit)."""
    factor = np.exp(logit)[:, None, None, None]
    first, second, third = (factor * gradients**p for p in (1, 2, 3))
    total = features.sum(axis=(1, 2), keepdims=True)
    below = 2 * second + total * third
    alpha = np.where(second == 0, 0, second / np.where(below == 0, 1, below))
    weights = (alpha * relu(first)).sum(axis=(1, 2))
    return relu((weights[:, None, None] * features).sum(axis=-1))


def pooled_gradient(kernel, classes, shape):
    """Gradient of a dense layer's logit by the map that is pooled."""
    height, width = shape[1:3]
    rows = kernel[:, classes].T / (height * width)
    return np.broadcast_to(rows[:, None, None, :], shape)
