/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_funcs.h - the CUDA calls that an application lends to the library. */
#ifndef DS_DATASYSTEM_UTILS_CUDA_FUNCS_H
#define DS_DATASYSTEM_UTILS_CUDA_FUNCS_H

#include <cstddef>

namespace datasystem {
inline constexpr int kCudaSuccess = 0;
inline constexpr int kCudaErrorHostMemoryAlreadyRegistered = 712;
inline constexpr unsigned int kCudaHostRegisterPortable = 1;

enum class DsCudaMemcpyKind : int { HOST_TO_DEVICE = 0, DEVICE_TO_HOST = 1 };

using HostRegisterFunc = int (*)(void *pointer, size_t size, unsigned int flags);
using HostUnregisterFunc = int (*)(void *pointer);
using GetErrorStringFunc = const char *(*)(int error);
using MemcpyAsyncFunc = int (*)(void *dst, const void *src, size_t size, DsCudaMemcpyKind kind,
                                void *stream);

struct CudaFuncs {
    HostRegisterFunc hostRegister = nullptr;
    HostUnregisterFunc hostUnregister = nullptr;
    GetErrorStringFunc getErrorString = nullptr;
    MemcpyAsyncFunc memcpyAsync = nullptr;
};
} // namespace datasystem

#endif
