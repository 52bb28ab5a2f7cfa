// CUDA C++ on a CPU, by g++: a block's threads are run in turns, each until its next barrier.

#include <cmath>
#include <cstddef>
#include <ucontext.h>
#include <utility>

using std::exp;
using std::log;
using std::sqrt;

typedef _Float16 half;
typedef _Float16 float16;
typedef long long int64;
typedef unsigned long long uint64;

#define __global__ static
#define __device__
#define __shared__ static

struct Dim { unsigned x; };
static Dim threadIdx, blockIdx, blockDim;

static inline float normcdf(float x) { return 0.5f * erfcf(x * -0.70710678118654752440f); }
static inline double normcdf(double x) { return 0.5 * erfc(x * -0.70710678118654752440); }

const unsigned MOST = 256;
static char stacks[MOST][1 << 15];
static ucontext_t scheduler, threads[MOST];
static bool ended[MOST];
static void (*body)(void*);
static void* body_argument;

static void __syncthreads() { swapcontext(&threads[threadIdx.x], &scheduler); }

static void thread_main() {
    body(body_argument);
    ended[threadIdx.x] = true;
    swapcontext(&threads[threadIdx.x], &scheduler);
}

// Run one block. Returns false if some threads ended while others waited at a barrier.
static bool run_block(unsigned count) {
    for (unsigned t = 0; t < count; ++t) {
        getcontext(&threads[t]);
        threads[t].uc_stack.ss_sp = stacks[t];
        threads[t].uc_stack.ss_size = sizeof stacks[t];
        makecontext(&threads[t], thread_main, 0);
        ended[t] = false;
    }
    for (unsigned left = count; left > 0;) {
        const unsigned before = left;
        for (unsigned t = 0; t < count; ++t) {
            threadIdx.x = t;
            swapcontext(&scheduler, &threads[t]);
            left -= ended[t];
        }
        if (left != 0 && left != before) return false;
    }
    return true;
}

// Every argument is 8 bytes, as CuPy passes an int, a float or the address of an array.
template <typename... P, size_t... I>
static void apply(void (*kernel)(P...), char* arguments, std::index_sequence<I...>) {
    static_assert(((sizeof(P) == 8) && ...), "an argument is not 8 bytes");
    kernel(*(P*)(arguments + 8 * I)...);
}

// What an argument is: an integer, a double, or an array and its type (* for any).
template <typename P> constexpr char kind = 'I';
template <> constexpr char kind<double> = 'D';
template <typename P> constexpr char kind<P*> = '*';
template <> constexpr char kind<half*> = 'e';
template <> constexpr char kind<float*> = 'f';
template <> constexpr char kind<double*> = 'd';
template <> constexpr char kind<int64*> = 'q';
template <typename P> constexpr char kind<const P*> = kind<P*>;

template <auto kernel> struct Launch;
template <typename... P, void (*kernel)(P...)> struct Launch<kernel> {
    static constexpr char kinds[] = {kind<P>..., 0};
    static void once(void* arguments) {
        apply(kernel, (char*)arguments, std::index_sequence_for<P...>());
    }
    static int run(unsigned blocks, unsigned threads_, char* arguments) {
        blockDim.x = threads_;
        body = once;
        body_argument = arguments;
        for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
            if (!run_block(threads_)) return 1;
        return 0;
    }
};
