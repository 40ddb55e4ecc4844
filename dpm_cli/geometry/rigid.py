"""Rigid transforms as (..., 4, 4) matrices named `target_from_source` (or `cam2world`).

Compose by `@`. Batched over leading axes, any float dtype; float64 is advised where a solver iterates.
A twist (..., 6) is (translation part, rotation part in radians); `se3_exp` of it acts from the left.
"""

import torch
from torch import Tensor


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) from rotation (..., 3, 3) and translation (..., 3)."""
    top = torch.cat((rotation, translation[..., None]), -1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat((top, bottom), -2)


def invert(T: Tensor) -> Tensor:
    """Inverse of rigid transforms (..., 4, 4)."""
    Rt = T[..., :3, :3].transpose(-1, -2)
    return rigid(Rt, -(Rt @ T[..., :3, 3:])[..., 0])


def times(points: Tensor, matrix: Tensor) -> Tensor:
    """Product (..., N, K) of points (..., N, 3) and matrices (..., 3, K).

    Three terms are no work for a matrix kernel: where torch.compile fuses, they are written out, which also keeps a GPU
    from rounding them to TF32.
    """
    if not torch.compiler.is_compiling():
        return points @ matrix
    x, y, z = points[..., None].unbind(-2)
    first, second, third = matrix[..., None, :, :].unbind(-2)
    return x * first + y * second + z * third


def transform(T: Tensor, points: Tensor) -> Tensor:
    """Apply T (..., 4, 4) to points (..., N, 3)."""
    return times(points, T[..., :3, :3].transpose(-1, -2)) + T[..., None, :3, 3]


def transform_map(T: Tensor, points: Tensor) -> Tensor:
    """Apply T (..., 4, 4) to a point map (..., H, W, 3)."""
    height, width = points.shape[-3:-1]
    return transform(T, points.flatten(-3, -2)).unflatten(-2, (height, width))


def rotate_map(T: Tensor, vectors: Tensor) -> Tensor:
    """Apply only the rotation of T (..., 4, 4) to a map of displacements (..., H, W, 3)."""
    height, width = vectors.shape[-3:-1]
    turned = vectors.flatten(-3, -2) @ T[..., :3, :3].transpose(-1, -2)
    return turned.unflatten(-2, (height, width))


def hat(v: Tensor) -> Tensor:
    """Cross-product matrix (..., 3, 3) of v (..., 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


def so3_exp(w: Tensor) -> Tensor:
    """Rotation (..., 3, 3) from an axis-angle vector (..., 3) in radians (Rodrigues)."""
    theta2 = (w * w).sum(-1)[..., None, None]
    small = theta2 < 1e-8
    safe = torch.where(small, torch.ones_like(theta2), theta2)
    theta = safe.sqrt()
    a = torch.where(small, 1 - theta2 / 6, torch.sin(theta) / theta)
    b = torch.where(small, 0.5 - theta2 / 24, (1 - torch.cos(theta)) / safe)
    W = hat(w)
    # An autocast region would round the product to half precision.
    with torch.autocast(w.device.type, enabled=False):
        square = W @ W
    return torch.eye(3, dtype=w.dtype, device=w.device) + a * W + b * square


def so3_angle(R: Tensor) -> Tensor:
    """Angle (...) in radians of rotations (..., 3, 3), accurate near 0 and near pi."""
    skew = torch.stack(
        (R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]), -1
    )
    trace = R.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(skew.norm(dim=-1), trace - 1)


def so3_log(R: Tensor) -> Tensor:
    """Axis-angle vector (..., 3) in radians of rotations (..., 3, 3); angle in [0, pi], by the quaternion."""
    q = quaternion_from_rotation(R)
    vector, w = q[..., :3], q[..., 3:]
    flip = torch.where(w < 0, -1.0, 1.0).to(q)
    vector, w = vector * flip, w * flip
    sine = vector.norm(dim=-1, keepdim=True)
    small = sine < 1e-7
    angle_over_sine = 2 * torch.atan2(sine, w) / torch.where(small, torch.ones_like(sine), sine)
    return vector * torch.where(small, torch.full_like(sine, 2.0), angle_over_sine)


def quaternion_from_rotation(R: Tensor) -> Tensor:
    """Unit quaternion (..., 4) as (x, y, z, w) of rotations (..., 3, 3).

    Of the four textbook formulas the one with the largest component is taken, so it is accurate for every angle.
    """
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    a, b, c = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    d, e, f = R[..., 0, 1] + R[..., 1, 0], R[..., 0, 2] + R[..., 2, 0], R[..., 1, 2] + R[..., 2, 1]
    rows = (
        (1 + xx - yy - zz, d, e, a),
        (d, 1 - xx + yy - zz, f, b),
        (e, f, 1 - xx - yy + zz, c),
        (a, b, c, 1 + xx + yy + zz),
    )
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    q = outer.gather(-2, best.expand(*best.shape[:-1], 4))[..., 0, :]
    return q / q.norm(dim=-1, keepdim=True)


def rotation_from_quaternion(q: Tensor) -> Tensor:
    """Rotation (..., 3, 3) of quaternions (..., 4) given as (x, y, z, w); they need not have unit length."""
    q = q / q.norm(dim=-1, keepdim=True)
    vector, w = q[..., :3], q[..., 3, None, None]
    V = hat(vector)
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * V + V @ V)


def _left_jacobian(w: Tensor) -> Tensor:
    """Integral of exp(a w) over a in [0, 1], (..., 3, 3): maps the twist's translation part to t."""
    theta2 = (w * w).sum(-1)[..., None, None]
    small = theta2 < 1e-6
    safe = torch.where(small, torch.ones_like(theta2), theta2)
    theta = safe.sqrt()
    b = torch.where(small, 0.5 - theta2 / 24, (1 - torch.cos(theta)) / safe)
    c = torch.where(small, 1 / 6 - theta2 / 120, (theta - torch.sin(theta)) / (safe * theta))
    W = hat(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + b * W + c * (W @ W)


def se3_exp(twist: Tensor) -> Tensor:
    """Rigid transforms (..., 4, 4) of twists (..., 6)."""
    v, w = twist[..., :3], twist[..., 3:]
    return rigid(so3_exp(w), (_left_jacobian(w) @ v[..., None])[..., 0])


def se3_log(T: Tensor) -> Tensor:
    """Twists (..., 6) of rigid transforms (..., 4, 4); rotation angles up to pi."""
    w = so3_log(T[..., :3, :3])
    v = torch.linalg.solve(_left_jacobian(w), T[..., :3, 3])
    return torch.cat((v, w), -1)


def adjoint(T: Tensor) -> Tensor:
    """(..., 6, 6) with T exp(twist) = exp(adjoint(T) twist) T."""
    R = T[..., :3, :3]
    upper = torch.cat((R, hat(T[..., :3, 3]) @ R), -1)
    return torch.cat((upper, torch.cat((torch.zeros_like(R), R), -1)), -2)


def interpolate(T_a: Tensor, T_b: Tensor, share: Tensor) -> Tensor:
    """Rigid transforms (..., 4, 4) at `share` (...) of the way from T_a (0) to T_b (1), by a constant twist."""
    return T_a @ se3_exp(se3_log(invert(T_a) @ T_b) * share[..., None])
