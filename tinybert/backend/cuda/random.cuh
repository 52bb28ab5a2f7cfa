// Random numbers by position: no state, so nothing is kept and any part can be drawn again.

// The first of the four numbers that Philox4x32-10 makes of a key and a counter of four words
// (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3), in [0, 1).
__device__ inline float uniform(
    unsigned long long seed, unsigned x0, unsigned x1, unsigned x2, unsigned x3
) {
    unsigned k0 = unsigned(seed), k1 = unsigned(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xD2511F53ull * x0, p1 = 0xCD9E8D57ull * x2;
        x0 = unsigned(p1 >> 32) ^ x1 ^ k0;
        x2 = unsigned(p0 >> 32) ^ x3 ^ k1;
        x1 = unsigned(p1);
        x3 = unsigned(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (x0 >> 8) * (1.0f / 16777216.0f);
}

