"""Print the settings under which this machine can run other numerical code than its own.

One line for each, as for ``env``: another kernel of OpenBLAS, and the plainest one together with
NumPy and Numba without the vector instructions that they choose at run time.
"""

import platform

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info

# Kernels of OpenBLAS, and the instructions that they need.
KERNELS = {"SkylakeX": "AVX512F", "Haswell": "AVX2"}


def main():
    """Print the lines."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return
    own = {library.get("architecture") for library in threadpool_info()}
    for kernel, instructions in KERNELS.items():
        if kernel not in own and has_instructions(instructions):
            print(f"OPENBLAS_CORETYPE={kernel}")
    # (NumPy warns of names that it could not disable.)
    chosen = ",".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    numpy_without = f" NPY_DISABLE_CPU_FEATURES={chosen}" if chosen else ""
    print(f"OPENBLAS_CORETYPE=Prescott{numpy_without} NUMBA_CPU_NAME=generic")


def has_instructions(name):
    """Return whether the CPU has them, by the name that this NumPy gives them."""
    groups = {"AVX2": "X86_V3", "AVX512F": "X86_V4"}
    return bool(__cpu_features__.get(name) or __cpu_features__.get(groups[name]))


if __name__ == "__main__":
    main()
