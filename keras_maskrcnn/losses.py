"""The five terms of the loss: L = L_cls + L_box + L_mask (§3), and the two of the RPN.

All are float32, and defined for empty slots and for images without objects. With several replicas,
each one divides by the mean of the divisors over all replicas. The mean of their losses is then the
loss of the whole batch.
"""

import tensorflow as tf

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.distribution.replicas import mean_over_replicas
from keras_maskrcnn.ops import mask_sampling


def smooth_l1(differences: tf.Tensor, beta: float) -> tf.Tensor:
    """Computes the smooth L1 loss of each difference (Fast R-CNN Eq. 3 with beta = 1).

    It is quadratic below `beta` and linear above; L1 if `beta` is 0.

    Args:
        differences: float tensor of any shape.
        beta: float >= 0, in units of the differences.

    Returns:
        Tensor of the same shape.
    """
    size = tf.abs(differences)
    if beta == 0:
        return size
    return tf.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def mean_of_positives(
    losses: tf.Tensor, labels: tf.Tensor, divisor: str = "positives"
) -> tf.Tensor:
    """Averages the losses of positive RoIs or anchors, over all replicas. For losses of your own.

    Args:
        losses: (B, N) float. Must be finite everywhere, not only for positives.
        labels: (B, N) int32. Above 0 positive, 0 background, -1 empty slot.
        divisor: str. "positives": their number. "slots" and "sampled": as in `objectness_loss`,
            so that background counts, too.

    Returns:
        () float32; 0 if there are no positives.
    """
    positive = labels > 0
    losses = tf.where(positive, tf.cast(losses, tf.float32), 0.0)
    if divisor == "positives":
        return _mean_where(losses, positive)
    return _mean(losses, labels, divisor)


def _mean(losses, labels, divisor):
    """Averages over all slots, or only over those with a label ("sampled")."""
    return _mean_where(losses, labels >= (0 if divisor == "sampled" else -1))


def _mean_where(losses, counted):
    """Sums losses (B, N) and divides by the number of those that count, (B, N) bool."""
    count = mean_over_replicas(tf.reduce_sum(tf.cast(counted, tf.float32)))
    return tf.math.divide_no_nan(tf.reduce_sum(losses), count)


def objectness_loss(logits: tf.Tensor, labels: tf.Tensor, divisor: str = "slots") -> tf.Tensor:
    """Binary cross-entropy of the sampled anchors (Faster R-CNN Eq. 1, first term).

    Args:
        logits: (B, N) float.
        labels: (B, N) int32. 1 object, 0 background, -1 slot without a loss, -2 no slot.
        divisor: str. "slots": B * N. "sampled": the number of labels that are not negative.

    Returns:
        () float32. The sum divided by `divisor`.
    """
    targets = tf.cast(labels == 1, tf.float32)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))
    return _mean(tf.where(labels >= 0, losses, 0.0), labels, divisor)


def box_loss(
    deltas: tf.Tensor, targets: tf.Tensor, labels: tf.Tensor, beta: float, divisor: str = "slots"
) -> tf.Tensor:
    """Smooth L1 loss of the positives' deltas (L_box; Faster R-CNN Eq. 1, second term).

    Args:
        deltas: (B, N, 4) float.
        targets: (B, N, 4) float32. Must be finite everywhere, not only for positives.
        labels: (B, N) int32. Above 0 positive, 0 background, -1 empty slot.
        beta: float. As in `smooth_l1`.
        divisor: str. As in `objectness_loss`. Background counts in both cases.

    Returns:
        () float32. The sum over positives, divided by `divisor`.
    """
    losses = tf.reduce_sum(smooth_l1(tf.cast(deltas, tf.float32) - targets, beta), axis=2)
    return mean_of_positives(losses, labels, divisor)


def classifier_loss(logits: tf.Tensor, labels: tf.Tensor, divisor: str = "slots") -> tf.Tensor:
    """Softmax cross-entropy of the RoIs' classes (L_cls).

    Args:
        logits: (B, S, C + 1) float, background first.
        labels: (B, S) int32 in 0..C; -1 has no loss.
        divisor: str. As in `objectness_loss`.

    Returns:
        () float32. The sum divided by `divisor`.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), tf.cast(logits, tf.float32)
    )
    return _mean(tf.where(labels >= 0, losses, 0.0), labels, divisor)


def mask_loss(
    logits: tf.Tensor, targets: tf.Tensor, labels: tf.Tensor, kind: str = "sigmoid"
) -> tf.Tensor:
    """Average cross-entropy of the masks' pixels (L_mask).

    Args:
        logits: (B, F, m, m, C) float. One channel if masks are class-agnostic. With "softmax"
            (B, F, m, m, C + 1), background first.
        targets: (B, F, m, m) float32 in [0, 1].
        labels: (B, F) int32 in 1..C; other values have no loss.
        kind: str. "sigmoid": binary cross-entropy of the true class' mask, so classes do not
            compete. "softmax": over classes and background, as in FCN (Table 2b).

    Returns:
        () float32. The mean over the pixels of all RoIs with a loss; 0 if there are none.
    """
    logits = tf.cast(logits, tf.float32)
    if kind == "softmax":
        logs = tf.nn.log_softmax(logits)
        own, background = mask_sampling.of_class(logs[..., 1:], labels), logs[..., 0]
        losses = -targets * own - (1 - targets) * background
    else:
        own = mask_sampling.of_class(logits, labels)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, own)
    return mean_of_positives(tf.reduce_mean(losses, axis=[2, 3]), labels)


__getattr__ = moved(__name__, {"mask_probabilities": "keras_maskrcnn.decode:mask_probabilities"})
