// Kernels over the rows of a matrix: one block of threads takes one row, each thread every
// blockDim.x-th element of it. The formulas are in tinybert/ops. T is what is stored (half,
// float or double), Wide<T> what is computed in. Compiled by cuda.py on first use.

#include <cuda_fp16.h>

template <typename T> struct Widened { typedef T type; };
template <> struct Widened<half> { typedef float type; };
template <typename T> using Wide = typename Widened<T>::type;

const int MOST_THREADS = 256;

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

// The largest element of a row and the sum of exp(x - largest).
template <typename T>
__device__ void top_and_total(const T* x, long long width, Wide<T>& top, Wide<T>& total) {
    typedef Wide<T> W;
    top = W(x[0]);
    for (long long i = threadIdx.x; i < width; i += blockDim.x) top = Larger()(W(x[i]), top);
    top = over_block(top, Larger());
    total = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) total += exp(W(x[i]) - top);
    total = over_block(total, Sum());
}

// x becomes exp(x - max x) / sum exp(x - max x).
template <typename T> __global__ void softmax(T* x, long long width) {
    typedef Wide<T> W;
    x += blockIdx.x * width;
    W top, total;
    top_and_total(x, width, top, total);
    for (long long i = threadIdx.x; i < width; i += blockDim.x)
        x[i] = T(exp(W(x[i]) - top) / total);
}

// dx = y * (dy - sum dy * y).
template <typename T>
__global__ void softmax_backward(const T* y, const T* dy, T* dx, long long width) {
    typedef Wide<T> W;
    long long row = blockIdx.x * width;
    W sum = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x)
        sum += W(y[row + i]) * W(dy[row + i]);
    sum = over_block(sum, Sum());
    for (long long i = threadIdx.x; i < width; i += blockDim.x)
        dx[row + i] = T(W(y[row + i]) * (W(dy[row + i]) - sum));
}

// y = x_hat * weight + bias with x_hat = (x - mean) * rstd; x_hat and rstd are kept for backward.
template <typename T>
__global__ void layer_norm(
    const T* x, const T* weight, const T* bias, T* y, T* x_hat, T* rstd, long long width, double eps
) {
    typedef Wide<T> W;
    long long row = blockIdx.x * width;
    W mean = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) mean += W(x[row + i]);
    mean = over_block(mean, Sum()) / width;
    W variance = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W centred = W(x[row + i]) - mean;
        variance += centred * centred;
    }
    variance = over_block(variance, Sum()) / width;
    W scale = 1 / sqrt(variance + W(eps));
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W hat = (W(x[row + i]) - mean) * scale;
        x_hat[row + i] = T(hat);
        y[row + i] = T(hat * W(weight[i]) + W(bias[i]));
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = T(scale);
}

// dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat)) with g = dy * weight.
template <typename T>
__global__ void layer_norm_backward(
    const T* dy, const T* x_hat, const T* rstd, const T* weight, T* dx, long long width
) {
    typedef Wide<T> W;
    long long row = blockIdx.x * width;
    W mean = 0, slope = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W g = W(dy[row + i]) * W(weight[i]);
        mean += g;
        slope += g * W(x_hat[row + i]);
    }
    mean = over_block(mean, Sum()) / width;
    slope = over_block(slope, Sum()) / width;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W g = W(dy[row + i]) * W(weight[i]);
        dx[row + i] = T(W(rstd[blockIdx.x]) * (g - mean - W(x_hat[row + i]) * slope));
    }
}

// loss = log_total - x[target] with log_total = log sum exp(x).
template <typename T>
__global__ void cross_entropy(
    const T* logits, const long long* targets, T* loss, T* log_total, long long width
) {
    typedef Wide<T> W;
    const T* x = logits + blockIdx.x * width;
    W top, total;
    top_and_total(x, width, top, total);
    if (threadIdx.x == 0) {
        log_total[blockIdx.x] = T(log(total) + top);
        loss[blockIdx.x] = T(log(total) - (W(x[targets[blockIdx.x]]) - top));
    }
}
