// Kernels over the rows of a matrix: one block of threads takes one row, each thread every
// blockDim.x-th element of it. The formulas are in tinybert/ops. T is what is stored (half,
// float or double), Wide<T> what is computed in. Compiled by launch.py, after common.cuh.

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
    const T* x, const T* weight, const T* bias, T* y, T* x_hat, T* rstd, long long width, double eps,
    double plus
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
        y[row + i] = T(hat * (W(weight[i]) + W(plus)) + W(bias[i]));
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = T(scale);
}

// dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat)) with g = dy * weight.
template <typename T>
__global__ void layer_norm_backward(
    const T* dy, const T* x_hat, const T* rstd, const T* weight, T* dx, long long width,
    double plus
) {
    typedef Wide<T> W;
    long long row = blockIdx.x * width;
    W mean = 0, slope = 0;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W g = W(dy[row + i]) * (W(weight[i]) + W(plus));
        mean += g;
        slope += g * W(x_hat[row + i]);
    }
    mean = over_block(mean, Sum()) / width;
    slope = over_block(slope, Sum()) / width;
    for (long long i = threadIdx.x; i < width; i += blockDim.x) {
        W g = W(dy[row + i]) * (W(weight[i]) + W(plus));
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

// --- attention ---------------------------------------------------------------------------------------

// Which scores a row has, after the mask, and which of its weights dropout keeps. A row of scores is
// one query of one head: rows are counted over the batch, the groups of heads, the heads of a group
// (repeats) and the queries, from `batch_from`, `head_from` and `query_from` on.
template <typename W> struct Row {
    const W* scores;                      // of this row
    const char* mask;                     // or any pointer, if kind is 0
    int kind;                             // 0 none, 1 boolean, 2 half, 3 float, 4 double
    long long at, key_stride;             // of the mask, in elements
    long long last;                       // the last key that a causal query attends to
    unsigned batch, head, query;
    long long index;                      // of the row in top and total

    // The score of key k; -infinity if it is masked.
    __device__ W operator()(long long k) const {
        const W masked = log(W(0));  // -infinity
        if (k > last) return masked;
        const long long place = at + k * key_stride;
        if (kind == 1) return ((const bool*)mask)[place] ? scores[k] : masked;
        if (kind == 2) {
            const float added = float(((const half*)mask)[place]);
            // The lowest half, which hides a key, is the lowest number of the wider type as well.
            return scores[k] + (added == -65504.0f ? -W(3.402823466e38f) : W(added));
        }
        if (kind == 3) return scores[k] + W(((const float*)mask)[place]);
        if (kind == 4) return scores[k] + W(((const double*)mask)[place]);
        return scores[k];
    }
};

template <typename W> __device__ Row<W> row_of(
    const W* scores, const void* mask, long long kind, long long batch_stride,
    long long group_stride, long long repeat_stride, long long query_stride, long long key_stride,
    long long groups, long long repeats, long long all_queries, long long batch_from,
    long long query_from, long long queries, long long keys, long long is_causal, long long first,
    long long head_from
) {
    const long long query = query_from + blockIdx.x % queries;
    const long long repeat = blockIdx.x / queries % repeats;
    const long long group = blockIdx.x / queries / repeats % groups;
    const long long batch = batch_from + blockIdx.x / queries / repeats / groups;
    const long long head = group * repeats + repeat;
    const long long at = batch * batch_stride + group * group_stride + repeat * repeat_stride
        + query * query_stride;
    return {
        scores + blockIdx.x * keys, (const char*)mask, int(kind), at, key_stride,
        is_causal ? first + query : keys, unsigned(batch), unsigned(head_from + head),
        unsigned(query),
        (batch * groups * repeats + head) * all_queries + query
    };
}

// weights = softmax(scores + mask) * keep; top and total of the row are kept for backward.
template <typename T>
__global__ void attention_weights(
    const Wide<T>* scores, T* weights, Wide<T>* top, Wide<T>* total, const void* mask,
    long long kind, long long batch_stride, long long group_stride, long long repeat_stride,
    long long query_stride, long long key_stride, long long groups, long long repeats,
    long long all_queries, long long batch_from, long long query_from, long long queries,
    long long keys, long long is_causal, long long first, long long head_from,
    unsigned long long seed, double p, double scale
) {
    typedef Wide<T> W;
    const Row<W> row = row_of(
        scores, mask, kind, batch_stride, group_stride, repeat_stride, query_stride, key_stride,
        groups, repeats, all_queries, batch_from, query_from, queries, keys, is_causal, first,
        head_from
    );
    W largest = lowest<W>(), sum = 0;
    for (long long k = threadIdx.x; k < keys; k += blockDim.x)
        largest = Larger()(row(k), largest);
    largest = over_block(largest, Larger());
    for (long long k = threadIdx.x; k < keys; k += blockDim.x) sum += exp(row(k) - largest);
    sum = over_block(sum, Sum());
    if (sum == 0) sum = 1;  // no key is visible: all weights are 0
    if (threadIdx.x == 0) {
        top[row.index] = largest;
        total[row.index] = sum;
    }
    for (long long k = threadIdx.x; k < keys; k += blockDim.x) {
        W weight = exp(row(k) - largest) / sum;
        if (p > 0)
            weight *= uniform(seed, unsigned(k), row.query, row.head, row.batch) >= float(p)
                ? W(scale) : W(0);
        weights[blockIdx.x * keys + k] = T(weight);
    }
}

// With P the weights before dropout: weights = P * keep, dscores = P * (dP - sum P * dP), where
// dP = dweights * keep.
template <typename T>
__global__ void attention_slopes(
    const Wide<T>* scores, const Wide<T>* dweights, T* weights, T* dscores, const Wide<T>* top,
    const Wide<T>* total, const void* mask, long long kind, long long batch_stride,
    long long group_stride, long long repeat_stride, long long query_stride, long long key_stride,
    long long groups, long long repeats, long long all_queries, long long batch_from,
    long long query_from, long long queries, long long keys, long long is_causal, long long first,
    long long head_from, unsigned long long seed, double p, double scale
) {
    typedef Wide<T> W;
    const Row<W> row = row_of(
        scores, mask, kind, batch_stride, group_stride, repeat_stride, query_stride, key_stride,
        groups, repeats, all_queries, batch_from, query_from, queries, keys, is_causal, first,
        head_from
    );
    const long long start = blockIdx.x * keys;
    const W largest = top[row.index], sum = total[row.index];
    W product = 0;
    for (int round = 0; round < 2; ++round) {  // the sum, then the results
        for (long long k = threadIdx.x; k < keys; k += blockDim.x) {
            const W weight = exp(row(k) - largest) / sum;
            W keep = 1;
            if (p > 0)
                keep = uniform(seed, unsigned(k), row.query, row.head, row.batch) >= float(p)
                    ? W(scale) : W(0);
            const W dweight = dweights[start + k] * keep;
            if (round == 0) {
                product += weight * dweight;
            } else {
                weights[start + k] = T(weight * keep);  // may overwrite scores[k] and dweights[k]
                dscores[start + k] = T(weight * (dweight - product));
            }
        }
        if (round == 0) product = over_block(product, Sum());
    }
}
