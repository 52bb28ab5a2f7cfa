// Kernels over many tensors at once. Each block of threads takes one chunk of one tensor. A table
// has the addresses of the chunk in each list of tensors, and the number of its elements.

template <typename T> __device__ T* address(const long long* table, long long columns, int list) {
    return (T*)table[blockIdx.x * columns + list];
}

// One step of Adam; see tinybert/optim/adam.py. The factors of a chunk are lr / (1 - beta1^t) and
// sqrt(1 - beta2^t), since tensors may differ in their step t.
template <typename T>
__global__ void adam(
    const long long* table, const double* factors, double keep, double decay, double beta1,
    double beta2, double eps
) {
    typedef Wide<T> W;
    T *param = address<T>(table, 5, 0), *grad = address<T>(table, 5, 1);
    T *mean = address<T>(table, 5, 2), *square = address<T>(table, 5, 3);
    const long long count = table[blockIdx.x * 5 + 4];
    const W rate = W(factors[blockIdx.x * 2]), correction = W(factors[blockIdx.x * 2 + 1]);
    for (long long i = threadIdx.x; i < count; i += blockDim.x) {
        const W p = W(param[i]) * W(keep), g = W(grad[i]) + W(decay) * p;
        const W m = W(mean[i]) * W(beta1) + g * W(1 - beta1);
        const W v = W(square[i]) * W(beta2) + g * g * W(1 - beta2);
        mean[i] = T(m);
        square[i] = T(v);
        param[i] = T(p - m * rate / (sqrt(v) / correction + W(eps)));
    }
}

// The sum of the squares of each chunk.
template <typename T> __global__ void squares(const long long* table, Wide<T>* sums) {
    typedef Wide<T> W;
    const T* x = address<T>(table, 2, 0);
    const long long count = table[blockIdx.x * 2 + 1];
    W sum = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += W(x[i]) * W(x[i]);
    sum = over_block(sum, Sum());
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// x *= factor, a number on the device.
template <typename T> __global__ void scale(const long long* table, const Wide<T>* factor) {
    typedef Wide<T> W;
    T* x = address<T>(table, 2, 0);
    const long long count = table[blockIdx.x * 2 + 1];
    for (long long i = threadIdx.x; i < count; i += blockDim.x) x[i] = T(W(x[i]) * W(*factor));
}
