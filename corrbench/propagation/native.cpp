// The k most similar keys of every query cell inside a window: exact, streaming, by tiles of 8 queries x 32 keys.
//
// fp32 search. A similarity is one fp32 dot product over the channels in their order, the same chain of operations in
// whatever tile, so equal features tie exactly and neither threads nor tiles change a bit. Keys come in the order of
// their index and must beat the k-th best strictly, so the lower index wins a tie.
//
// Pruned search. Features are rotated onto principal directions; the first coordinate stays fp32, the others become
// int16 with a scale per cell. E(query), made of measured residuals, bounds |approximate - fp32 similarity|. After 32,
// 64 and 128 coordinates a block of keys is left when, by Cauchy-Schwarz on the rest, none of it can come within 2 E of
// the query's k-th best. What is within 2 E at the end is scored again in fp32 by the code of the fp32 search, so the
// result is the same bit for bit. A query with more candidates than its list holds goes through the fp32 search.
#include <algorithm>
#include <atomic>
#include <cmath>
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

constexpr int QUERIES = 8, KEYS = 32;                     // a tile
constexpr int LEVELS = 3, PREFIX[LEVELS] = {16, 32, 64};  // channel pairs seen before each pruning test
constexpr int CHUNK = 32;                                 // channels the rotation sums at a time
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

// sums[i][keys] += sum over c of query[c * STRIDE + i] * keys[c][keys], for N queries and WIDE vectors of keys.
template <class T, int N, int WIDE, int STRIDE>
inline void block(const T *query, const T *keys, int channels, T *sums) {
    using Vector = decltype(load(keys));
    Vector sum[N][WIDE];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) sum[i][j] = load(sums + i * KEYS + j * LANES);
    for (int c = 0; c < channels; c++, query += STRIDE, keys += KEYS) {
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

// The same for `lanes` keys: any number of vectors.
template <class T, int N, int STRIDE>
inline void row_of_blocks(const T *query, const T *keys, int channels, int lanes, T *sums) {
    for (int j = 0; j < lanes; j += 2 * LANES)
        if (lanes - j > LANES)
            block<T, N, 2, STRIDE>(query, keys + j, channels, sums + j);
        else
            block<T, N, 1, STRIDE>(query, keys + j, channels, sums + j);
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

// ---- keys[c][lane] from rows[lane][c], LANES x LANES at a time ----------------------------------------------------

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

void transpose(const float *const *rows, int lanes, int channels, float *keys) {
    for (int j = 0; j < lanes; j += LANES)
        for (int c = 0; c < channels; c += LANES) {
            Floats row[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) row[i] = load(rows[j + i] + c);
            exchange_all<LANES / 2>(row);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) store(keys + (c + i) * KEYS + j, row[i]);
        }
}

// ---- frames ------------------------------------------------------------------------------------------------------

enum Fact { SCALE, LEAD, TAIL, RESIDUAL = TAIL + LEVELS, NORM, FACTS };  // per cell, for the pruned search

struct Frame {
    const float *vectors;  // (h, w, stride): channels of a cell side by side, zeros after `channels`
    const int32_t *pairs;  // (h, pairs, wide): two int16 coordinates of neighbouring cells side by side
    const float *facts;    // (h, FACTS, wide)
    float residual, norm;  // the largest of the frame
};

struct Search {
    int32_t h, w, wide, channels, stride, pairs, k, capacity;
    int32_t frames, reaches, widest, whole_first, pruned, threads;
    const int32_t *reach;       // (reaches): the largest |dx| seen |dy| rows away; none: the whole frame is seen
    const int32_t *first_slot;  // (frames + 1): where the slots of a distinct frame start in `slots`
    const int32_t *slots;
    const Frame *context;  // distinct frames, in the order of their first slots
    Frame target;
    float slack;      // of E, for each unit of |query| |key|
    int32_t *index;   // (h * w, k) out
    float *similarity;
    int64_t redone;  // out: queries that went through the fp32 search after the pruned one
};

struct Buffer {  // zeros, on a cache line's boundary
    explicit Buffer(size_t bytes) : data(std::aligned_alloc(64, (bytes + 191) / 64 * 64)) {
        if (!data) throw std::bad_alloc();
        std::memset(data, 0, bytes);
    }
    ~Buffer() { std::free(data); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    template <class T> T *of() const { return static_cast<T *>(data); }
    void *data;
};

struct List {  // a query's best keys so far: similarity descending, key ascending among equals where keys come in order
    float *score;
    int32_t *key;
    int size = 0;
    float floor = -INFINITY;  // nothing below can matter
    float margin = 0;         // 2 E
    bool failed = false;

    void insert(float s, int32_t cell, int at) {
        for (; at > 0 && s > score[at - 1]; at--) score[at] = score[at - 1], key[at] = key[at - 1];
        score[at] = s, key[at] = cell;
    }
    void add_exact(float s, int32_t cell, int k) {
        if (size == k && !(s > floor)) return;
        insert(s, cell, size < k ? size++ : k - 1);
        if (size == k) floor = score[k - 1];
    }
    void add_approximate(float s, int32_t cell, int k, int capacity) {
        if (s < floor) return;
        if (size == capacity) {
            failed = true, floor = INFINITY;
            return;
        }
        insert(s, cell, size++);
        if (size < k) return;
        floor = score[k - 1] - margin;
        while (score[size - 1] < floor) size--;
    }
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

// ---- search ------------------------------------------------------------------------------------------------------

struct Strip {  // the queries of columns x0 .. x0 + 7 in rows [top, bottom), and the memory to search for them
    const Search &s;
    int x0 = 0, top = 0, bottom = 0;
    int64_t redone = 0;
    Buffer panel, queries, facts, scores, keys, zeros;
    std::vector<List> lists;
    std::vector<char> active;  // rows to search
    std::vector<std::pair<float, int32_t>> best;

    Strip(const Search &search, int rows)
        : s(search), panel(size_t(s.stride) * KEYS * 4), queries(size_t(rows) * s.stride * QUERIES * 4),
          facts(size_t(rows) * FACTS * QUERIES * 4), scores(size_t(rows) * QUERIES * s.capacity * 4),
          keys(size_t(rows) * QUERIES * s.capacity * 4), zeros(size_t(s.stride) * 4), lists(rows * QUERIES),
          active(rows) {
        for (size_t n = 0; n < lists.size(); n++)
            lists[n].score = scores.of<float>() + n * s.capacity, lists[n].key = keys.of<int32_t>() + n * s.capacity;
    }

    int columns() const { return std::min(QUERIES, s.w - x0); }
    List &list(int y, int i) { return lists[(y - top) * QUERIES + i]; }
    bool whole(int f) const { return s.reaches == 0 || (f == 0 && s.whole_first); }
    const float *vector(const Frame &frame, int y, int x) const {
        return x < s.w ? frame.vectors + (size_t(y) * s.w + x) * s.stride : zeros.of<float>();
    }

    void run(int strip_x0, int strip_top, int strip_bottom) {
        x0 = strip_x0, top = strip_top, bottom = strip_bottom;
        std::fill(active.begin(), active.end(), 1);
        if (s.pruned) {
            search<true>();
            for (int y = top; y < bottom; y++) {
                active[y - top] = 0;
                for (int i = 0; i < columns(); i++)
                    if (list(y, i).failed)
                        active[y - top] = 1, redone++;
                    else
                        rescore(y, i);
            }
            if (std::find(active.begin(), active.begin() + bottom - top, 1) == active.begin() + bottom - top) return;
        }
        search<false>();
        for (int y = top; y < bottom; y++)
            for (int i = 0; active[y - top] && i < columns(); i++) {
                const List &found = list(y, i);
                best.clear();
                for (int n = 0; n < found.size; n++) best.emplace_back(found.score[n], found.key[n]);
                write(y, i);
            }
    }

    // Key rows outside, query rows inside: a panel of 32 keys, channel by channel, serves all the rows that see it.
    template <bool PRUNED>
    void search() {
        for (int y = top; y < bottom; y++)
            if (active[y - top]) PRUNED ? start_pruned(y) : start_exact(y);
        for (int n = 0; n < s.frames; n++) {
            const int f = PRUNED ? s.frames - 1 - n : n;  // the nearest frames raise the floors soonest
            const int rows = whole(f) ? s.h : s.reaches - 1, around = whole(f) ? s.w : s.widest;
            const int left = std::max(0, x0 - around), right = std::min(s.w, x0 + QUERIES + around);
            for (int ky = std::max(0, top - rows); ky < std::min(s.h, bottom + rows); ky++)
                for (int kx = left; kx < right; kx += KEYS) {
                    bool packed = false;
                    for (int y = std::max(top, ky - rows); y < std::min(bottom, ky + rows + 1); y++) {
                        const int reach = whole(f) ? s.w : s.reach[std::abs(y - ky)];
                        const int from = std::max(0, x0 - reach - kx);  // lanes of the panel that some query sees
                        const int to = std::min({KEYS, right - kx, x0 + QUERIES + reach - kx});
                        if (!active[y - top] || from >= to) continue;
                        if (!packed) PRUNED ? pack_pruned(f, ky, kx) : pack_exact(f, ky, kx);
                        packed = true;
                        const int lanes = (to - from + LANES - 1) / LANES * LANES, skip = std::min(from, KEYS - lanes);
                        uint32_t seen[QUERIES] = {};  // by lane - skip
                        for (int i = 0; i < columns(); i++) {
                            const int low = std::max(from, x0 + i - reach - kx), high = std::min(to, x0 + i + reach + 1 - kx);
                            if (low < high) seen[i] = uint32_t((uint64_t(1) << high) - (uint64_t(1) << low)) >> skip;
                        }
                        PRUNED ? see_pruned(f, y, ky, kx, skip, lanes, seen) : see_exact(f, y, ky, kx, skip, lanes, seen);
                    }
                }
        }
    }

    void start_exact(int y) {
        float *query = queries.of<float>() + size_t(y - top) * s.stride * QUERIES;
        for (int i = 0; i < QUERIES; i++) {
            const float *from = vector(s.target, y, x0 + i);
            for (int c = 0; c < s.channels; c++) query[c * QUERIES + i] = from[c];
            list(y, i).size = 0, list(y, i).floor = -INFINITY;
        }
    }

    void pack_exact(int f, int ky, int kx) {
        const float *rows[KEYS];
        for (int j = 0; j < KEYS; j++) rows[j] = vector(s.context[f], ky, kx + j);
        transpose(rows, KEYS, s.stride, panel.of<float>());
    }

    void see_exact(int f, int y, int ky, int kx, int skip, int lanes, const uint32_t *seen) {
        alignas(64) float sums[QUERIES * KEYS] = {};
        const float *query = queries.of<float>() + size_t(y - top) * s.stride * QUERIES;
        for (int i = 0; i < QUERIES; i += ROWS)
            row_of_blocks<float, ROWS, QUERIES>(query + i, panel.of<float>() + skip, s.channels, lanes, sums + i * KEYS);
        for (int i = 0; i < columns(); i++) {
            List &found = list(y, i);
            uint32_t hits = 0;
            for (int j = 0; j < lanes; j += LANES) hits |= reaching(load(sums + i * KEYS + j), found.floor) << j;
            for (hits &= seen[i]; hits; hits &= hits - 1) {
                const int lane = __builtin_ctz(hits);
                found.add_exact(sums[i * KEYS + lane], (f * s.h + ky) * s.w + kx + skip + lane, s.k);
            }
        }
    }

    void start_pruned(int y) {
        int32_t *query = queries.of<int32_t>() + size_t(y - top) * s.stride * QUERIES;
        float *fact = facts.of<float>() + size_t(y - top) * FACTS * QUERIES;
        for (int p = 0; p < s.pairs; p++)
            std::memcpy(query + p * QUERIES, s.target.pairs + (size_t(y) * s.pairs + p) * s.wide + x0, QUERIES * 4);
        for (int n = 0; n < FACTS; n++)
            std::memcpy(fact + n * QUERIES, s.target.facts + (size_t(y) * FACTS + n) * s.wide + x0, QUERIES * 4);
        double residual = 0, norm = 0;
        for (int f = 0; f < s.frames; f++)
            residual = std::max<double>(residual, s.context[f].residual), norm = std::max<double>(norm, s.context[f].norm);
        for (int i = 0; i < QUERIES; i++) {
            const double r = fact[RESIDUAL * QUERIES + i], n = fact[NORM * QUERIES + i];
            const double error = r * norm + residual * n + r * residual + s.slack * n * norm;
            list(y, i).size = 0, list(y, i).floor = -INFINITY, list(y, i).failed = false;
            list(y, i).margin = float(2.0001 * error);
        }
    }

    void pack_pruned(int f, int ky, int kx) {
        for (int p = 0; p < s.pairs; p++)
            std::memcpy(panel.of<int32_t>() + p * KEYS, s.context[f].pairs + (size_t(ky) * s.pairs + p) * s.wide + kx, KEYS * 4);
    }

    void see_pruned(int f, int y, int ky, int kx, int skip, int lanes, const uint32_t *seen) {
        alignas(64) int32_t sums[QUERIES * KEYS] = {};
        alignas(64) float score[QUERIES * KEYS];
        const int32_t *query = queries.of<int32_t>() + size_t(y - top) * s.stride * QUERIES;
        const float *mine = facts.of<float>() + size_t(y - top) * FACTS * QUERIES;
        const float *theirs = s.context[f].facts + size_t(ky) * FACTS * s.wide + kx + skip;
        uint32_t hits[QUERIES];
        for (int level = 0, start = 0; start < s.pairs; level++) {
            const bool last = level == LEVELS || PREFIX[level] >= s.pairs;
            const int end = last ? s.pairs : PREFIX[level];
            for (int i = 0; i < QUERIES; i += ROWS)
                row_of_blocks<int32_t, ROWS, QUERIES>(query + start * QUERIES + i, panel.of<int32_t>() + start * KEYS + skip,
                                                            end - start, lanes, sums + i * KEYS);
            uint32_t any = 0;
            for (int i = 0; i < columns(); i++) {
                const float floor = list(y, i).floor, scale = mine[SCALE * QUERIES + i], lead = mine[LEAD * QUERIES + i];
                const float tail = last ? 0 : mine[(TAIL + level) * QUERIES + i];
                hits[i] = 0;
                for (int j = 0; j < lanes; j += LANES) {
                    Floats value = __builtin_convertvector(load(sums + i * KEYS + j), Floats);
                    value = value * (scale * load(theirs + SCALE * s.wide + j)) + lead * load(theirs + LEAD * s.wide + j);
                    if (last) store(score + i * KEYS + j, value);
                    else value += tail * load(theirs + (TAIL + level) * s.wide + j);
                    hits[i] |= reaching(value, floor) << j;
                }
                any |= hits[i] &= seen[i];
            }
            if (!any) return;
            start = end;
        }
        for (int i = 0; i < columns(); i++)
            for (uint32_t left = hits[i]; left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                list(y, i).add_approximate(score[i * KEYS + lane], (f * s.h + ky) * s.w + kx + skip + lane, s.k, s.capacity);
            }
    }

    void rescore(int y, int i) {
        const List &found = list(y, i);
        best.clear();
        for (int n = 0; n < found.size; n += KEYS) {
            const int count = std::min(KEYS, found.size - n), lanes = (count + LANES - 1) / LANES * LANES;
            const float *rows[KEYS];
            for (int j = 0; j < KEYS; j++) {
                const int key = found.key[n + std::min(j, count - 1)];
                rows[j] = s.context[key / (s.h * s.w)].vectors + size_t(key % (s.h * s.w)) * s.stride;
            }
            alignas(64) float sums[KEYS] = {};
            transpose(rows, lanes, s.stride, panel.of<float>());
            row_of_blocks<float, 1, 1>(vector(s.target, y, x0 + i), panel.of<float>(), s.channels, lanes, sums);
            for (int j = 0; j < count; j++) best.emplace_back(sums[j], found.key[n + j]);
        }
        std::sort(best.begin(), best.end(), ahead);
        write(y, i);
    }

    static bool ahead(const std::pair<float, int32_t> &a, const std::pair<float, int32_t> &b) {
        return a.first > b.first || (a.first == b.first && a.second < b.second);
    }

    // `best` by distinct frame becomes k keys by slot. The k best distinct keys hold the k best of all slots, since any
    // key's slots come after its first slot, and those of the k distinct keys ahead of it come before.
    void write(int y, int i) {
        const int cells = s.h * s.w, cell = y * s.w + x0 + i;
        const size_t distinct = std::min<size_t>(best.size(), s.k);
        best.resize(distinct);
        for (size_t n = 0; n < distinct; n++) {
            const int f = best[n].second / cells, at = best[n].second % cells;
            const int *slot = s.slots + s.first_slot[f], *end = s.slots + s.first_slot[f + 1];
            best[n].second = *slot * cells + at;
            const int dy = std::abs(at / s.w - y), dx = std::abs(at % s.w - x0 - i);
            if (whole(f) && s.reaches > 0 && (dy >= s.reaches || dx > s.reach[dy])) continue;  // seen in slot 0 only
            for (int copies = 1; ++slot < end && copies < s.k; copies++) best.emplace_back(best[n].first, *slot * cells + at);
        }
        if (best.size() > distinct) std::sort(best.begin(), best.end(), ahead);
        for (int n = 0; n < s.k; n++) {
            const bool there = size_t(n) < best.size();
            s.index[size_t(cell) * s.k + n] = there ? best[n].second : -1;
            s.similarity[size_t(cell) * s.k + n] = there ? best[n].first : -INFINITY;
        }
    }
};

// ---- rotation ----------------------------------------------------------------------------------------------------

struct Rotation {
    int32_t h, w, wide, channels, stride, pairs, threads;
    const float *vectors;  // (h, w, stride)
    const float *basis;    // (stride / 32 rounded up, channels, 32): principal directions, largest first, zeros after
    int32_t *out_pairs;
    float *facts;
    float error;  // of the rotation, for each unit of a vector's length
};

void quantise(const Rotation &r, int y, int x, const float *value) {
    const int count = r.channels - 1;
    double rest = 0, largest = 0, residual = 0, tail[LEVELS] = {};
    for (int c = 0; c < count; c++) rest += double(value[c + 1]) * value[c + 1], largest = std::max<double>(largest, std::fabs(value[c + 1]));
    rest = std::sqrt(rest);
    // int16, and by Cauchy-Schwarz sums of products below 2^31: rounding adds at most sqrt(channels) / 2 to 46200
    const float scale = rest > 1e-30 ? float(std::min(32766 / largest, 46200 / rest)) : 1;
    auto whole_number = [&](int c) { return c < count ? int32_t(std::lrintf(value[c + 1] * scale)) : 0; };
    for (int p = 0; p < r.pairs; p++) {
        const int32_t a = whole_number(2 * p), b = whole_number(2 * p + 1);
        r.out_pairs[(size_t(y) * r.pairs + p) * r.wide + x] = int32_t((uint32_t(b) << 16) | (uint32_t(a) & 0xffff));
        for (int l = 0; l < LEVELS; l++)
            if (p >= PREFIX[l]) tail[l] += double(a) * a + double(b) * b;
    }
    for (int c = 0; c < count; c++) residual += std::pow(value[c + 1] - whole_number(c) / double(scale), 2);
    const double norm = std::sqrt(double(value[0]) * value[0] + rest * rest) * 1.00001;
    float fact[FACTS];
    fact[SCALE] = 1 / scale, fact[LEAD] = value[0];
    for (int l = 0; l < LEVELS; l++) fact[TAIL + l] = float(std::sqrt(tail[l]) / scale * 1.00001);
    fact[RESIDUAL] = float((std::sqrt(residual) + r.error * norm) * 1.00001);
    fact[NORM] = float(norm + fact[RESIDUAL]);
    for (int n = 0; n < FACTS; n++) r.facts[(size_t(y) * FACTS + n) * r.wide + x] = fact[n];
}

void rotate_row(const Rotation &r, int y, const Buffer &query, const Buffer &value, const float *zeros) {
    for (int x0 = 0; x0 < r.w; x0 += QUERIES) {
        for (int i = 0; i < QUERIES; i++) {
            const float *from = x0 + i < r.w ? r.vectors + (size_t(y) * r.w + x0 + i) * r.stride : zeros;
            for (int c = 0; c < r.channels; c++) query.of<float>()[c * QUERIES + i] = from[c];
        }
        for (int first = 0; first < r.channels; first += KEYS) {
            float total[QUERIES * KEYS] = {};
            for (int c = 0; c < r.channels; c += CHUNK) {  // short chains: the bound on their rounding is what E pays for
                alignas(64) float sums[QUERIES * KEYS] = {};
                for (int i = 0; i < QUERIES; i += ROWS)
                    row_of_blocks<float, ROWS, QUERIES>(query.of<float>() + c * QUERIES + i, r.basis + (size_t(first / KEYS) * r.channels + c) * KEYS,
                                                                std::min(CHUNK, r.channels - c), KEYS, sums + i * KEYS);
                for (int n = 0; n < QUERIES * KEYS; n++) total[n] += sums[n];
            }
            for (int i = 0; i < QUERIES; i++)
                std::memcpy(value.of<float>() + size_t(i) * (r.stride + KEYS) + first, total + i * KEYS, KEYS * 4);
        }
        for (int i = 0; i < std::min(QUERIES, r.w - x0); i++) quantise(r, y, x0 + i, value.of<float>() + size_t(i) * (r.stride + KEYS));
    }
}

}  // namespace

extern "C" {

int corrbench_lanes() { return LANES; }

int corrbench_rotate(const Rotation *r) {
    return in_parallel(r->h, r->threads, [&](auto next) {
        const Buffer query(size_t(r->stride) * QUERIES * 4), value(size_t(r->stride + KEYS) * QUERIES * 4), zeros(size_t(r->stride) * 4);
        for (int y; (y = next()) < r->h;) rotate_row(*r, y, query, value, zeros.of<float>());
    });
}

int corrbench_search(Search *s) {
    const int strips = (s->w + QUERIES - 1) / QUERIES;
    const int parts = s->threads > 1 ? std::min((8 * s->threads + strips - 1) / strips, (s->h + 7) / 8) : 1;
    const int rows = (s->h + parts - 1) / parts;
    std::atomic<int64_t> redone{0};
    const bool good = in_parallel(strips * parts, s->threads, [&](auto next) {
        Strip strip(*s, rows);
        for (int n; (n = next()) < strips * parts;) {
            const int top = n / strips * rows;
            if (top < s->h) strip.run(n % strips * QUERIES, top, std::min(s->h, top + rows));
        }
        redone += strip.redone;
    });
    s->redone = redone;
    return good;
}
}
