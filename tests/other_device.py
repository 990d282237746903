"""A stand-in for a GPU: PyTorch's "meta" device, where tensors have shapes and no values, watched op by op.

An op on tensors of two devices is an error there as on a GPU, also where "meta" itself would let it pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
_ATEN = torch.ops.aten


class OtherDevice(TorchDispatchMode):
    """Within it, values that leave the "meta" device are zeros, a mask holds once in each row, and devices never mix.

    A number (a tensor without dimensions) on the CPU may meet any tensor, as on a GPU.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        meta = any(tensor.is_meta for tensor in tensors)
        if func is _ATEN.copy_.default and meta:  # the one op that is for two devices
            return args[0] if args[0].is_meta else args[0].zero_()
        if meta and any(not tensor.is_meta and tensor.dim() for tensor in tensors):
            raise AssertionError(f"{func}: got tensors on {[str(t.device) for t in tensors]}, expected one device")
        if not meta:
            return func(*args, **kwargs)
        if func is _ATEN._local_scalar_dense.default:
            return torch.zeros((), dtype=args[0].dtype).item()
        if func is _ATEN._to_copy.default and torch.device(kwargs.get("device") or META).type == "cpu":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is _ATEN.nonzero.default:
            return torch.empty(len(args[0]), args[0].dim(), dtype=torch.long, device=META)
        if func in (_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default):
            args = (args[0], _places(args[1]), *args[2:])
        return func(*args, **kwargs)


def _places(indices: Any) -> list[Tensor | None]:
    """The indices with each mask as the places that it holds at."""
    places: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool:
            places += [torch.empty(len(index), dtype=torch.long, device=META)] * index.dim()
        else:
            places.append(index)
    return places
