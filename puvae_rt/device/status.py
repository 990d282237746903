"""What to do about a CUDA status, for every device layer alike."""

from __future__ import annotations

from puvae_rt.errors import DeviceError

SUCCESS, NOT_READY = "CUDA_SUCCESS", "CUDA_ERROR_NOT_READY"
_CAPTURE = "keep allocation, synchronisation and pageable copies out of what is captured"
_FAULT = "this process has lost the GPU: run it once under `compute-sanitizer`, report the kernel, and start anew"
_DRIVER = "update the NVIDIA driver, or install a package built for the CUDA version that `nvidia-smi` shows"

REMEDIES = {
    "CUDA_ERROR_OUT_OF_MEMORY": "close other programs on the GPU, or build with a smaller --batch",
    "CUDA_ERROR_NO_DEVICE": "no NVIDIA GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_INVALID_DEVICE": "give the number of a GPU that `nvidia-smi -L` lists",
    "CUDA_ERROR_NOT_INITIALIZED": _DRIVER,
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": _DRIVER,
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": _DRIVER,
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": _DRIVER,
    "CUDA_ERROR_INSUFFICIENT_DRIVER": _DRIVER,
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "install nvidia-cuda-nvrtc so that the kernels are compiled for this GPU",
    "CUDA_ERROR_INVALID_IMAGE": "reinstall the package: its kernel binaries are damaged",
    "CUDA_ERROR_NOT_FOUND": "reinstall the package: its kernel binaries are older than its code",
    "CUDA_ERROR_INVALID_VALUE": "an address, size or handle is wrong or was freed",
    "CUDA_ERROR_INVALID_CONTEXT": "the device was closed, or another library destroyed its context",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED": "the device was closed, or another library destroyed its context",
    "CUDA_ERROR_ILLEGAL_ADDRESS": _FAULT,
    "CUDA_ERROR_MISALIGNED_ADDRESS": _FAULT,
    "CUDA_ERROR_LAUNCH_FAILED": _FAULT,
    "CUDA_ERROR_LAUNCH_TIMEOUT": "the display's watchdog stopped the kernel: use a GPU without a display",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": "the launch wants more threads, registers or shared memory than there are",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": _CAPTURE,
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": _CAPTURE,
    "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD": "capture and end the capture in one thread",
    "CUDA_ERROR_STREAM_CAPTURE_ISOLATION": "an event of the captured stream was used outside of it",
    NOT_READY: "synchronise before asking for it",
}
_OTHER = "see the name in NVIDIA's CUDA driver API reference, and `dmesg` for Xid errors"


def failure(call: str, code: str, text: str = "") -> DeviceError:
    """The error of a call that returned `code`; `text` is CUDA's own description or what was got."""
    remedy = REMEDIES.get(code, _OTHER)
    return DeviceError(call, code, f"{text}; {remedy}" if text else remedy)
