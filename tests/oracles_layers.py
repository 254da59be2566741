"""Slow twins of the methods that reach into layers: loops and float64, from the papers.

A dense network is a list of ``(weight, bias, activation)``, weight (outputs, inputs), the
activation a pair of functions, value and slope. All return (target, input).
"""

from __future__ import annotations

import numpy as np

RELU = (lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0)
TANH = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
NONE = (lambda z: z, lambda z: np.ones_like(z))


def run(layers, x):
    """Inputs and sums of every layer, and the answer."""
    inputs, sums = [], []
    for weight, bias, (value, _) in layers:
        inputs.append(x)
        sums.append(weight @ x + bias)
        x = value(sums[-1])
    return inputs, sums, x


def rectified(layers, x, guided):
    """Springenberg et al. 2014, fig. 1: what each ReLU lets back of a signal R."""
    _, sums, answer = run(layers, x)
    out = []
    for k in range(len(answer)):
        signal = np.eye(len(answer))[k]
        for (weight, _, activation), z in zip(layers[::-1], sums[::-1], strict=True):
            if activation is RELU:
                forward = z > 0
                backward = signal > 0
                signal = signal * backward * (forward if guided else 1)
            else:
                signal = signal * activation[1](z)
            signal = weight.T @ signal
        out.append(signal)
    return np.array(out)


def deep_lift(layers, x, b):
    """Shrikumar et al. 2017, section 3.5: multipliers of the linear and the rescale rule."""
    _, sums, answer = run(layers, x)
    _, sums0, _ = run(layers, b)
    out = []
    for k in range(len(answer)):
        multiplier = np.eye(len(answer))[k]
        for layer, z, z0 in zip(layers[::-1], sums[::-1], sums0[::-1], strict=True):
            weight, _, (value, slope) = layer
            for j in range(len(z)):
                if abs(z[j] - z0[j]) < 1e-10:
                    multiplier[j] *= slope(z[j])
                else:
                    multiplier[j] *= (value(z[j]) - value(z0[j])) / (z[j] - z0[j])
            multiplier = np.array(
                [sum(multiplier[j] * w for j, w in enumerate(column)) for column in weight.T]
            )
        out.append(multiplier * (x - b))
    return np.array(out)


def lrp(layers, x, epsilon):
    """Bach et al. 2015, eq. 58: each sum shares its relevance as its terms made it."""
    inputs, sums, answer = run(layers, x)
    out = []
    for k in range(len(answer)):
        relevance = np.where(np.arange(len(answer)) == k, answer, 0.0)
        for (weight, _, _), a, z in zip(layers[::-1], inputs[::-1], sums[::-1], strict=True):
            below = np.zeros(len(a))
            for j in range(len(z)):
                share = relevance[j] / (z[j] + (epsilon if z[j] >= 0 else -epsilon))
                for i in range(len(a)):
                    below[i] += a[i] * weight[j, i] * share
            relevance = below
        out.append(relevance)
    return np.array(out)


def convolved(x, weight, bias):
    """x (channel, y, x) with zeros around, kernels (out, channel, 3, 3)."""
    _, h, w = x.shape
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.empty((len(weight), h, w))
    for o in range(len(weight)):
        for r in range(h):
            for c in range(w):
                out[o, r, c] = np.sum(wide[:, r : r + 3, c : c + 3] * weight[o]) + bias[o]
    return out


def spread(small, size):
    """Bilinear, pixel areas aligned, edges repeated: (y, x) -> size."""
    out = np.empty(size)
    for r in range(size[0]):
        for c in range(size[1]):
            at = []
            for i, n, m in ((r, small.shape[0], size[0]), (c, small.shape[1], size[1])):
                place = max((i + 0.5) * n / m - 0.5, 0.0)
                low = min(int(place), n - 1)
                at.append((low, min(low + 1, n - 1), place - low))
            (r0, r1, u), (c0, c1, v) = at
            top = (1 - v) * small[r0, c0] + v * small[r0, c1]
            bottom = (1 - v) * small[r1, c0] + v * small[r1, c1]
            out[r, c] = (1 - u) * top + u * bottom
    return out


def grad_cam(a, head, size, positive=True, step=1e-6):
    """Selvaraju et al. 2017, eq. 1 and 2; `head` answers for the layer's output a (c, y, x)."""
    answer = head(a)
    out = []
    for k in range(len(answer)):
        total = np.zeros(a.shape[1:])
        for c in range(len(a)):
            slope = 0.0
            for index in np.ndindex(a.shape[1:]):
                up, down = a.copy(), a.copy()
                up[(c, *index)] += step
                down[(c, *index)] -= step
                slope += (head(up)[k] - head(down)[k]) / (2 * step)
            total += slope / a[c].size * a[c]
        out.append(spread(np.maximum(total, 0) if positive else total, size))
    return np.array(out)
