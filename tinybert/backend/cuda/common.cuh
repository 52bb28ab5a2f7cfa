// What the .cu files share: the type to compute in, reductions over a block of threads, and random
// numbers by position.

#include <cuda_fp16.h>

template <typename T> struct Widened { typedef T type; };
template <> struct Widened<half> { typedef float type; };
template <typename T> using Wide = typename Widened<T>::type;

const int MOST_THREADS = 256;

template <typename W> __device__ W lowest();
template <> __device__ float lowest() { return -3.402823466e38f; }
template <> __device__ double lowest() { return -1.7976931348623157e308; }

struct Sum {
    template <typename W> __device__ W operator()(W a, W b) const { return a + b; }
};

struct Larger {
    template <typename W> __device__ W operator()(W a, W b) const { return a > b ? a : b; }
};

// Reduce the values of all threads to one that every thread receives; blockDim.x is a power of two.
template <typename W, typename Join> __device__ W over_block(W value, Join join) {
    __shared__ W shared[MOST_THREADS];
    shared[threadIdx.x] = value;
    __syncthreads();
    for (unsigned stride = blockDim.x / 2; stride > 0; stride /= 2) {
        if (threadIdx.x < stride)
            shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + stride]);
        __syncthreads();
    }
    W joined = shared[0];
    __syncthreads();  // all threads have read it before the next call overwrites it
    return joined;
}

