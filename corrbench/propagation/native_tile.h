// Vectors of whatever width this machine has, and what is made of them: similarities of a tile, a transpose.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int QUERIES = 8, KEYS = 32;  // a tile
#if defined(__AVX512F__) && defined(__AVX512BW__)
constexpr int LANES = 16, ROWS = 8;  // floats in a vector; queries of a register block of ROWS x 2 vectors
#elif defined(__AVX2__)
constexpr int LANES = 8, ROWS = 4;
#else
constexpr int LANES = 4, ROWS = 4;
#endif
typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

inline Floats load(const float *from) {  // of any alignment, as below
    Floats value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Ints load(const int32_t *from) {
    Ints value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T, class Vector>
inline void store(T *to, Vector value) {
    static_assert(sizeof value == LANES * sizeof(T));
    std::memcpy(to, &value, sizeof value);
}

// ---- similarities of a block of queries and keys -----------------------------------------------------------------

inline Floats multiply_add(Floats sum, Floats a, Floats b) { return sum + a * b; }

inline Ints multiply_add(Ints sum, Ints a, Ints b) {  // two int16 in each lane: sum + a.low b.low + a.high b.high
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
    return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX512F__) && defined(__AVX512BW__)
    return sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (Ints)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// sums[i][key] (+)= sum over c of query[c * STRIDE + i] * keys[c * apart + key]: N queries, WIDE vectors of keys.
template <class T, int N, int WIDE, int STRIDE>
inline void block(const T *query, const T *keys, int apart, int channels, bool fresh, T *sums) {
    using Vector = decltype(load(keys));
    Vector sum[N][WIDE];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) sum[i][j] = fresh ? Vector{} : load(sums + i * KEYS + j * LANES);
    for (int c = 0; c < channels; c++, query += STRIDE, keys += apart) {
        Vector key[WIDE];
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) key[j] = load(keys + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < N; i++) {
            const Vector value = query[i] - Vector{};  // in every lane
#pragma GCC unroll 2
            for (int j = 0; j < WIDE; j++) sum[i][j] = multiply_add(sum[i][j], value, key[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; i++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) store(sums + i * KEYS + j * LANES, sum[i][j]);
}

// The same for N queries (a tile's, or one) and up to 32 keys in whole vectors.
template <int N, int STRIDE, class T>
inline void tile(const T *query, const T *keys, int apart, int channels, int lanes, bool fresh, T *sums) {
    constexpr int STEP = N < ROWS ? N : ROWS;
    for (int j = 0; j < lanes; j += 2 * LANES)
        for (int i = 0; i < N; i += STEP)
            if (lanes - j > LANES)
                block<T, STEP, 2, STRIDE>(query + i, keys + j, apart, channels, fresh, sums + i * KEYS + j);
            else
                block<T, STEP, 1, STRIDE>(query + i, keys + j, apart, channels, fresh, sums + i * KEYS + j);
}

inline uint32_t reaching(Floats value, float floor) {  // one bit for each lane
#if defined(__AVX512F__) && defined(__AVX512BW__)
    return _mm512_cmp_ps_mask((__m512)value, _mm512_set1_ps(floor), _CMP_GE_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)value, _mm256_set1_ps(floor), _CMP_GE_OQ));
#else
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++) bits |= uint32_t(value[l] >= floor) << l;
    return bits;
#endif
}

// ---- keys[c * apart + lane] from rows[lane][c], LANES x LANES at a time --------------------------------------------

template <int STEP, int... L>
inline void exchange(Floats &a, Floats &b, std::integer_sequence<int, L...>) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES 1
#endif
#endif
#ifdef SHUFFLES
    const Floats low = __builtin_shufflevector(a, b, ((L & STEP) ? LANES + L - STEP : L)...);
    b = __builtin_shufflevector(a, b, ((L & STEP) ? LANES + L : L + STEP)...);
    a = low;
#else
    Floats low = a, high = b;
    for (int l = 0; l < LANES; l++) low[l] = (l & STEP) ? b[l - STEP] : a[l], high[l] = (l & STEP) ? b[l] : a[l + STEP];
    a = low, b = high;
#endif
}

template <int STEP>
inline void exchange_all(Floats *row) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (!(i & STEP)) exchange<STEP>(row[i], row[i + STEP], std::make_integer_sequence<int, LANES>());
    if constexpr (STEP > 1) exchange_all<STEP / 2>(row);
}

void transpose(const float *const *rows, int lanes, int channels, float *keys, int apart) {
    for (int j = 0; j < lanes; j += LANES)
        for (int c = 0; c < channels; c += LANES) {
            Floats row[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) row[i] = load(rows[j + i] + c);
            exchange_all<LANES / 2>(row);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) store(keys + (c + i) * apart + j, row[i]);
        }
}

// ---- memory and threads --------------------------------------------------------------------------------------------

struct Buffer {  // memory on a cache line's boundary
    explicit Buffer(size_t bytes) : data(std::aligned_alloc(64, (bytes + 127) / 64 * 64)) {
        if (!data) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    template <class T> T *of() const { return static_cast<T *>(data); }
    void *data;
};

template <class Work>
bool in_parallel(int items, int threads, Work work) {  // work(next): calls next() until it is `items` or more
    std::atomic<int> next{0};
    std::atomic<bool> good{true};
    auto run = [&] {
        try {
            work([&] { return next.fetch_add(1); });
        } catch (...) {
            good = false;
        }
    };
    std::vector<std::thread> pool;
    try {
        for (int i = 1; i < std::min(threads, items); i++) pool.emplace_back(run);
    } catch (...) {  // no more threads to be had: go on with these
    }
    run();
    for (auto &thread : pool) thread.join();
    return good;
}

}  // namespace
