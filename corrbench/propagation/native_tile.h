// Vectors of whatever width this machine has, and what is made of them: products of a tile, a transpose; memory, threads.
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

#if defined(__AVX512F__) && defined(__AVX512BW__)
constexpr int LANES = 16, GROUP = 8;  // floats in a vector; keys multiplied at a time: GROUP x 2 sums stay in registers
#elif defined(__AVX2__)
constexpr int LANES = 8, GROUP = 4;
#else
constexpr int LANES = 4, GROUP = 4;
#endif
constexpr int TILE = 2 * LANES, ACROSS = 4, DOWN = TILE / ACROSS;  // queries of a tile: a lane each, 4 in a row
typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

template <class Vector>
inline Vector load(const void *from) {  // of any alignment and type, as below
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class Vector>
inline void store(void *to, Vector value) {
    std::memcpy(to, &value, sizeof value);
}

// ---- products ------------------------------------------------------------------------------------------------------

inline Floats multiply_add(Floats sum, Floats a, float b) { return sum + a * b; }

inline Ints multiply_add(Ints sum, Ints a, int32_t b) {  // sum + four products of unsigned bytes and signed bytes
    const Ints k = b - Ints{};
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)k);
#else
    const Ints low = a & 0x00ff00ff, high = (a >> 8) & 0x00ff00ff;  // bytes 0 and 2, 1 and 3, as 16-bit integers
#if defined(__AVX512F__) && defined(__AVX512BW__)
    const __m512i even = _mm512_srai_epi16((__m512i)(k << 8), 8), odd = _mm512_srai_epi16((__m512i)k, 8);
    return sum + (Ints)_mm512_madd_epi16((__m512i)low, even) + (Ints)_mm512_madd_epi16((__m512i)high, odd);
#elif defined(__AVX2__)
    const __m256i even = _mm256_srai_epi16((__m256i)(k << 8), 8), odd = _mm256_srai_epi16((__m256i)k, 8);
    return sum + (Ints)_mm256_madd_epi16((__m256i)low, even) + (Ints)_mm256_madd_epi16((__m256i)high, odd);
#elif defined(__SSE2__)
    const __m128i even = _mm_srai_epi16((__m128i)(k << 8), 8), odd = _mm_srai_epi16((__m128i)k, 8);
    return sum + (Ints)_mm_madd_epi16((__m128i)low, even) + (Ints)_mm_madd_epi16((__m128i)high, odd);
#else
    return sum + (low & 255) * ((k << 24) >> 24) + (high & 255) * ((k << 16) >> 24) + (low >> 16) * ((k << 8) >> 24) +
           (high >> 16) * (k >> 24);
#endif
#endif
}

// sums[n][j] += sum over words c in [from, to) of queries[c * TILE + j * LANES + lane] * keys[n][c]. Meanwhile the same
// words of the keys in `next` are fetched.
template <int WIDE, class Word, class Vector>
inline void multiply(const float *queries, const float *const *keys, const float *const *next, int from, int to,
                     Vector (&sums)[GROUP][WIDE]) {
    Vector sum[GROUP][WIDE];  // a copy that compilers keep in registers: no index into it is a variable
#pragma GCC unroll 8
    for (int n = 0; n < GROUP; n++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) sum[n][j] = sums[n][j];
    auto step = [&](int c) {
        Vector query[WIDE];
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) query[j] = load<Vector>(queries + c * TILE + j * LANES);
#pragma GCC unroll 8
        for (int n = 0; n < GROUP; n++) {
            const Word key = load<Word>(keys[n] + c);
#pragma GCC unroll 2
            for (int j = 0; j < WIDE; j++) sum[n][j] = multiply_add(sum[n][j], query[j], key);
        }
    };
    int c = from;
    for (; c + 1 < to; c += 2) {
        __builtin_prefetch(next[c / 2 % GROUP] + c / 16 * 16, 0, 2);
        step(c);
        step(c + 1);
    }
    if (c < to) step(c);
#pragma GCC unroll 8
    for (int n = 0; n < GROUP; n++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) sums[n][j] = sum[n][j];
}

inline uint32_t reaching(Floats value, Floats floor) {  // one bit for each lane: not below the floor
#if defined(__AVX512F__) && defined(__AVX512BW__)
    return _mm512_cmp_ps_mask((__m512)value, (__m512)floor, _CMP_NLT_UQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)value, (__m256)floor, _CMP_NLT_UQ));
#elif defined(__SSE2__)
    return _mm_movemask_ps(_mm_cmpnlt_ps((__m128)value, (__m128)floor));
#else
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++) bits |= uint32_t(!(value[l] < floor[l])) << l;
    return bits;
#endif
}

// ---- out[c * apart + lane] from rows[lane][c], LANES x LANES at a time ----------------------------------------------

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

void transpose(const float *const *rows, int lanes, int channels, float *out, int apart) {
    for (int j = 0; j < lanes; j += LANES)
        for (int c = 0; c < channels; c += LANES) {
            Floats row[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) row[i] = load<Floats>(rows[j + i] + c);
            exchange_all<LANES / 2>(row);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) store(out + (c + i) * apart + j, row[i]);
        }
}

// ---- memory and threads --------------------------------------------------------------------------------------------

template <class T>
struct Buffer {  // zeros on a cache line's boundary
    explicit Buffer(size_t count) : data(static_cast<T *>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64))) {
        if (!data) throw std::bad_alloc();
        std::memset(static_cast<void *>(data), 0, count * sizeof(T));
    }
    ~Buffer() { std::free(data); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    T *data;
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
