// The k most similar keys of every query cell inside a window: exact, streaming, by tiles of 8 queries x 32 keys.
//
// fp32 search. A similarity is one fp32 dot product over the channels in their order, the same chain of operations in
// whatever tile, so equal features tie exactly and neither threads nor tiles change a bit. Keys come in the order of
// their index and must beat the k-th best strictly, so the lower index wins a tie.
//
// Pruned search. Features are rotated onto principal directions; the first coordinate stays fp32, the others become
// int16 with a scale per cell. E(query), made of measured residuals, bounds |approximate - fp32 similarity|. After 32,
// 64 and 128 coordinates a tile is left when, by Cauchy-Schwarz on the rest, none of its keys can come within 2 E of a
// query's k-th best. What is within 2 E at the end is scored again in fp32 by the code of the fp32 search, so the
// result is the same bit for bit. A query with more candidates than its list holds goes through the fp32 search.
#include <cmath>

#include "native_tile.h"

namespace {

constexpr int TILES = 4;                                  // side by side in a strip: they share rows of keys
constexpr int LEVELS = 3, PREFIX[LEVELS] = {16, 32, 64};  // channel pairs seen before each pruning test
constexpr int CHUNK = 32;                                 // channels the rotation sums at a time
constexpr int SPARE = 2 * KEYS;                           // lanes read after the last: a tile may reach beyond a row

enum Fact { SCALE, LEAD, TAIL, RESIDUAL = TAIL + LEVELS, NORM, FACTS };  // of a cell, for the pruned search

struct Frame {
    const float *vectors;  // (h, w, stride): channels of a cell side by side, zeros after `channels`
    const int32_t *pairs;  // (h, pairs, wide) and SPARE: two int16 coordinates a cell, neighbouring cells side by side
    const float *facts;    // (h, FACTS, wide) and SPARE
    float residual, norm;  // the largest of the frame
};

struct Search {  // one target frame
    int32_t h, w, wide, channels, stride, pairs, k, capacity;
    int32_t frames, reaches, whole_first, pruned;
    const int32_t *reach;       // (reaches): the largest |dx| seen |dy| rows away; none: the whole frame is seen
    const int32_t *first_slot;  // (frames + 1): where the slots of a distinct frame start in `slots`
    const int32_t *slots;
    const Frame *context;  // distinct frames, in the order of their first slots
    Frame target;
    float slack;     // of E, for each unit of |query| |key|
    int32_t *index;  // out (h * w, k)
    float *similarity;
    int64_t redone;  // out: queries that went through the fp32 search after the pruned one
};

struct List {  // a query's best keys so far
    float *top;  // the k best similarities, descending
    float *score;
    int32_t *key;  // exact: of `top`; approximate: with `score`, all keys that can still matter
    int found, size;
    float floor, margin;  // nothing below the floor can matter; 2 E
    bool failed;

    void clear(float two_errors) { found = size = 0, floor = -INFINITY, margin = two_errors, failed = false; }

    void add_exact(float s, int32_t cell, int k) {
        if (found == k && !(s > floor)) return;
        int at = found < k ? found++ : k - 1;
        for (; at > 0 && s > top[at - 1]; at--) top[at] = top[at - 1], key[at] = key[at - 1];
        top[at] = s, key[at] = cell;
        if (found == k) floor = top[k - 1];
    }

    void add_approximate(float s, int32_t cell, int k, int capacity) {
        if (s < floor) return;
        if (found < k || s > top[k - 1]) {
            int at = found < k ? found++ : k - 1;
            for (; at > 0 && s > top[at - 1]; at--) top[at] = top[at - 1];
            top[at] = s;
            if (found == k) floor = top[k - 1] - margin;
        }
        if (size == capacity) drop();
        if (size == capacity) failed = true, floor = INFINITY;
        else score[size] = s, key[size++] = cell;
    }

    void drop() {
        int kept = 0;
        for (int n = 0; n < size; n++)
            if (score[n] >= floor) score[kept] = score[n], key[kept++] = key[n];
        size = kept;
    }
};

// ---- search ------------------------------------------------------------------------------------------------------

struct Strip {  // queries of up to 4 tiles side by side, from column x0 on, in rows [top, bottom)
    const Search &s;
    const int rows;
    int x0 = 0, x1 = 0, top = 0, bottom = 0;
    int64_t redone = 0;
    Buffer queries, panel, facts, tops, scores, keys, zeros;
    std::vector<List> lists;
    std::vector<char> active;  // tiles to search for
    std::vector<std::pair<float, int32_t>> best;
    int asked[LEVELS] = {}, ended[LEVELS] = {}, tick = 0;  // pruning tests

    Strip(const Search &search, int most_rows)
        : s(search), rows(most_rows), queries(size_t(rows) * TILES * s.stride * QUERIES * 4),
          panel((size_t(s.stride) * s.wide + SPARE) * 4), facts(size_t(rows) * TILES * FACTS * QUERIES * 4),
          tops(size_t(rows) * TILES * QUERIES * s.k * 4), scores(size_t(rows) * TILES * QUERIES * s.capacity * 4),
          keys(size_t(rows) * TILES * QUERIES * s.capacity * 4), zeros(size_t(s.stride) * 4),
          lists(rows * TILES * QUERIES), active(rows * TILES) {
        std::memset(zeros.data, 0, size_t(s.stride) * 4);
        std::memset(panel.data, 0, (size_t(s.stride) * s.wide + SPARE) * 4);
        for (size_t n = 0; n < lists.size(); n++) {
            lists[n].top = tops.of<float>() + n * s.k;
            lists[n].score = scores.of<float>() + n * s.capacity;
            lists[n].key = keys.of<int32_t>() + n * s.capacity;
        }
    }

    int place(int y, int x) const { return (y - top) * TILES + (x - x0) / QUERIES; }  // of the tile at column x
    List *list(int y, int x) { return &lists[size_t(place(y, x)) * QUERIES + (x - x0) % QUERIES]; }
    template <class T> T *query(int y, int x) { return queries.of<T>() + size_t(place(y, x)) * s.stride * QUERIES; }
    float *fact(int y, int x) { return facts.of<float>() + size_t(place(y, x)) * FACTS * QUERIES; }
    bool whole(int f) const { return s.reaches == 0 || (f == 0 && s.whole_first); }
    int key_of(int f, int y, int x) const { return (f * s.h + y) * s.w + x; }
    const float *vector(const Frame &frame, int y, int x) const {
        return x < s.w ? frame.vectors + (size_t(y) * s.w + x) * s.stride : zeros.of<float>();
    }

    void run(int from_x, int to_x, int from_y, int to_y) {
        x0 = from_x, x1 = std::min(to_x, s.w), top = from_y, bottom = to_y;
        std::fill(active.begin(), active.end(), 1);
        if (s.pruned) {
            search<true>();
            std::fill(active.begin(), active.end(), 0);
            for (int y = top; y < bottom; y++)
                for (int x = x0; x < x1; x++)
                    if (list(y, x)->failed)
                        active[place(y, x)] = 1, redone++;
                    else
                        rescore(y, x);
            if (std::find(active.begin(), active.end(), 1) == active.end()) return;
        }
        search<false>();
        for (int y = top; y < bottom; y++)
            for (int x = x0; x < x1; x++) {
                if (!active[place(y, x)]) continue;
                best.clear();
                for (int n = 0; n < list(y, x)->found; n++) best.emplace_back(list(y, x)->top[n], list(y, x)->key[n]);
                write(y, x);
            }
    }

    // Key rows outside, then tiles, then query rows: 32 keys of a row stay in the cache for all the rows that see them.
    template <bool PRUNED>
    void search() {
        for (int y = top; y < bottom; y++)
            for (int x = x0; x < x1; x += QUERIES)
                if (active[place(y, x)]) PRUNED ? start_pruned(y, x) : start_exact(y, x);
        const int widest = s.reaches ? *std::max_element(s.reach, s.reach + s.reaches) : 0;
        for (int n = 0; n < s.frames; n++) {
            const int f = PRUNED ? s.frames - 1 - n : n;  // the nearest frames raise the floors soonest
            const int over = whole(f) ? s.h : s.reaches - 1, around = whole(f) ? s.w : widest;
            for (int ky = std::max(0, top - over); ky < std::min(s.h, bottom + over); ky++) {
                const int first = std::max(top, ky - over), last = std::min(bottom, ky + over + 1);
                const auto from = active.begin() + (first - top) * TILES, to = active.begin() + (last - top) * TILES;
                if (std::find(from, to, 1) == to) continue;
                const int left = std::max(0, x0 - around), right = std::min(s.w, x1 + around);
                if (!PRUNED) pack(f, ky, left, right);
                for (int x = x0; x < x1; x += QUERIES)
                    for (int kx = std::max(0, x - around); kx < std::min(s.w, x + QUERIES + around); kx += KEYS)
                        see_panel<PRUNED>(f, ky, kx, left, x, first, last);
            }
        }
    }

    // 32 keys from (ky, kx) on, and the queries of the tiles at column x that see some of them.
    template <bool PRUNED>
    void see_panel(int f, int ky, int kx, int left, int x, int first, int last) {
        int known = -1, from = 0, to = 0, lanes = 0, at = 0;  // for one reach: lanes that are seen, and where to start
        uint32_t seen[QUERIES];                               // bit l: the key at kx + at + l
        for (int y = first; y < last; y++) {
            const int reach = whole(f) ? s.w : s.reach[std::abs(y - ky)];
            if (!active[place(y, x)]) continue;
            if (reach != known) {
                known = reach, from = std::max(0, x - reach - kx);
                to = std::min({KEYS, s.w - kx, x + QUERIES + reach - kx});
                lanes = (to - from + LANES - 1) / LANES * LANES, at = std::min(from, KEYS - lanes);
                for (int i = 0; i < QUERIES; i++) {
                    const int low = std::max(from, x + i - reach - kx), high = std::min(to, x + i + reach + 1 - kx);
                    const bool some = low < high && x + i < x1;
                    seen[i] = some ? uint32_t((uint64_t(1) << high) - (uint64_t(1) << low)) >> at : 0;
                }
            }
            if (from >= to) continue;
            PRUNED ? see_pruned(f, ky, kx + at, y, x, lanes, seen) : see_exact(f, ky, kx + at, left, y, x, lanes, seen);
        }
    }

    void start_exact(int y, int x) {
        for (int i = 0; i < QUERIES; i++) {
            const float *from = vector(s.target, y, x + i);
            for (int c = 0; c < s.channels; c++) query<float>(y, x)[c * QUERIES + i] = from[c];
            list(y, x)[i].clear(0);
        }
    }

    void pack(int f, int ky, int left, int right) {
        for (int x = left; x < right; x += LANES) {
            const float *from[LANES];
            for (int l = 0; l < LANES; l++) from[l] = vector(s.context[f], ky, x + l);
            transpose(from, LANES, s.stride, panel.of<float>() + x - left, s.wide);
        }
    }

    void see_exact(int f, int ky, int kx, int left, int y, int x, int lanes, const uint32_t *seen) {
        alignas(64) float sums[QUERIES * KEYS];
        const float *from = panel.of<float>() + kx - left;
        tile<QUERIES, QUERIES>(query<float>(y, x), from, s.wide, s.channels, lanes, true, sums);
        for (int i = 0; i < QUERIES; i++) {
            List &mine = list(y, x)[i];
            uint32_t hits = 0;
            for (int j = 0; j < KEYS; j += LANES) hits |= reaching(load(sums + i * KEYS + j), mine.floor) << j;
            for (hits &= seen[i]; hits; hits &= hits - 1) {
                const int lane = __builtin_ctz(hits);
                mine.add_exact(sums[i * KEYS + lane], key_of(f, ky, kx + lane), s.k);
            }
        }
    }

    void start_pruned(int y, int x) {
        for (int p = 0; p < s.pairs; p++) {
            const int32_t *from = s.target.pairs + (size_t(y) * s.pairs + p) * s.wide + x;
            std::memcpy(query<int32_t>(y, x) + p * QUERIES, from, QUERIES * 4);
        }
        float *mine = fact(y, x);
        for (int n = 0; n < FACTS; n++)
            std::memcpy(mine + n * QUERIES, s.target.facts + (size_t(y) * FACTS + n) * s.wide + x, QUERIES * 4);
        double residual = 0, norm = 0;
        for (int f = 0; f < s.frames; f++) {
            residual = std::max<double>(residual, s.context[f].residual);
            norm = std::max<double>(norm, s.context[f].norm);
        }
        for (int i = 0; i < QUERIES; i++) {
            const double r = mine[RESIDUAL * QUERIES + i], n = mine[NORM * QUERIES + i];
            list(y, x)[i].clear(float(2.0001 * (r * norm + residual * n + r * residual + s.slack * n * norm)) + 1e-30f);
        }
    }

    void see_pruned(int f, int ky, int kx, int y, int x, int lanes, const uint32_t *seen) {
        alignas(64) int32_t sums[QUERIES * KEYS];
        alignas(64) float score[QUERIES * KEYS];
        const int32_t *from = s.context[f].pairs + size_t(ky) * s.pairs * s.wide + kx;
        const float *theirs = s.context[f].facts + size_t(ky) * FACTS * s.wide + kx;
        uint32_t hits[QUERIES];
        for (int level = 0, start = 0; start < s.pairs; level++) {
            const bool last = level == LEVELS || PREFIX[level] >= s.pairs;
            if (!last && !worth_asking(level)) continue;
            const int end = last ? s.pairs : PREFIX[level];
            tile<QUERIES, QUERIES>(query<int32_t>(y, x) + start * QUERIES, from + size_t(start) * s.wide, s.wide,
                                   end - start, lanes, start == 0, sums);
            const bool some = last ? judge<true>(y, x, level, theirs, sums, seen, hits, score)
                                   : judge<false>(y, x, level, theirs, sums, seen, hits, score);
            if (!last) answer(level, some);
            if (!some) return;
            start = end;
        }
        for (int i = 0; i < QUERIES; i++)
            for (uint32_t rest = hits[i]; rest; rest &= rest - 1) {
                const int lane = __builtin_ctz(rest);
                list(y, x)[i].add_approximate(score[i * KEYS + lane], key_of(f, ky, kx + lane), s.k, s.capacity);
            }
    }

    // A test that seldom ends a tile is left out, but for every eighth time.
    bool worth_asking(int level) { return ended[level] * 8 >= asked[level] || ++tick % 8 == 0; }
    void answer(int level, bool some) {
        asked[level]++, ended[level] += !some;
        if (asked[level] == 512) asked[level] /= 2, ended[level] /= 2;
    }

    // Which keys of a tile can still matter after `sums`: bits in `hits`. If all is summed, similarities in `score`.
    template <bool LAST>
    bool judge(int y, int x, int level, const float *theirs, const int32_t *sums, const uint32_t *seen, uint32_t *hits,
               float *score) {
        constexpr int VECTORS = KEYS / LANES;
        Floats scale[VECTORS], lead[VECTORS], tail[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; j++) {
            scale[j] = load(theirs + SCALE * s.wide + j * LANES), lead[j] = load(theirs + LEAD * s.wide + j * LANES);
            if (!LAST) tail[j] = load(theirs + (TAIL + level) * s.wide + j * LANES);
        }
        const float *mine = fact(y, x);
        const List *lists = list(y, x);
        uint32_t any = 0;
        for (int i = 0; i < QUERIES; i++, mine++) {
            uint32_t bits = 0;
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; j++) {
                Floats value = __builtin_convertvector(load(sums + i * KEYS + j * LANES), Floats);
                value = value * (mine[SCALE * QUERIES] * scale[j]) + mine[LEAD * QUERIES] * lead[j];
                if (LAST) store(score + i * KEYS + j * LANES, value);
                else value += mine[(TAIL + level) * QUERIES] * tail[j];
                bits |= reaching(value, lists[i].floor) << (j * LANES);
            }
            any |= hits[i] = bits & seen[i];
        }
        return any;
    }

    void rescore(int y, int x) {
        List &mine = *list(y, x);
        mine.drop();
        best.clear();
        for (int n = 0; n < mine.size; n += LANES) {
            const float *from[LANES];
            for (int l = 0; l < LANES; l++) {
                const int key = mine.key[std::min(n + l, mine.size - 1)];
                from[l] = s.context[key / (s.h * s.w)].vectors + size_t(key % (s.h * s.w)) * s.stride;
            }
            alignas(64) float sums[KEYS];
            transpose(from, LANES, s.stride, panel.of<float>(), LANES);
            tile<1, 1>(vector(s.target, y, x), panel.of<float>(), LANES, s.channels, LANES, true, sums);
            for (int l = 0; l < std::min(LANES, mine.size - n); l++) best.emplace_back(sums[l], mine.key[n + l]);
        }
        std::sort(best.begin(), best.end(), ahead);
        write(y, x);
    }

    static bool ahead(const std::pair<float, int32_t> &a, const std::pair<float, int32_t> &b) {
        return a.first > b.first || (a.first == b.first && a.second < b.second);
    }

    // `best` by distinct frame becomes k keys by slot. The k best distinct keys hold the k best of all slots: a key's
    // other slots come after its first, and k first slots come before that.
    void write(int y, int x) {
        const int cells = s.h * s.w, cell = y * s.w + x;
        const size_t distinct = std::min<size_t>(best.size(), s.k);
        best.resize(distinct);
        for (size_t n = 0; n < distinct; n++) {
            const auto [score, key] = best[n];
            const int f = key / cells, at = key % cells, dy = std::abs(at / s.w - y), dx = std::abs(at % s.w - x);
            const int *slot = s.slots + s.first_slot[f], *end = s.slots + s.first_slot[f + 1];
            best[n].second = *slot * cells + at;
            if (s.reaches && (dy >= s.reaches || dx > s.reach[dy])) continue;  // seen whole, in slot 0 only
            for (int copies = 1; ++slot < end && copies < s.k; copies++) best.emplace_back(score, *slot * cells + at);
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
    const float *basis;    // (stride / 8, channels, 8): principal directions, largest first, zeros after them
    int32_t *out_pairs;
    float *facts;
    float error, rest_error;  // of the rotation, for each unit of |vector| and of |vector less its first coordinate|
};

// Coordinates (channels, 32) of 32 cells (or what is left of a row) from `x` on, a lane each.
void rotate(const Rotation &r, int y, int x, float *panel, float *value, const float *zeros) {
    const float *rows[KEYS];
    for (int l = 0; l < KEYS; l++) rows[l] = x + l < r.w ? r.vectors + (size_t(y) * r.w + x + l) * r.stride : zeros;
    transpose(rows, KEYS, r.stride, panel, KEYS);
    auto project = [&](int first) {
        float *total = value + first * KEYS;
        for (int c = 0; c < r.channels; c += CHUNK) {  // short chains: E pays for the bound on their rounding
            alignas(64) float sums[QUERIES * KEYS];
            const float *directions = r.basis + size_t(first) * r.channels + c * QUERIES;
            const int some = std::min(CHUNK, r.channels - c);
            tile<QUERIES, QUERIES>(directions, panel + c * KEYS, KEYS, some, KEYS, true, sums);
            for (int n = 0; n < QUERIES * KEYS; n++) total[n] = c ? total[n] + sums[n] : sums[n];
        }
    };
    float lead[KEYS];
    project(0);
    std::memcpy(lead, value, sizeof lead);
    for (int c = 0; c < r.channels; c++)  // what is left is short, and so is its rounding
        for (int l = 0; l < KEYS; l++) panel[c * KEYS + l] -= lead[l] * r.basis[c * QUERIES];
    for (int first = 0; first < r.channels; first += QUERIES) project(first);
    std::memcpy(value, lead, sizeof lead);
}

// Coordinates 1.. of `value` as int16 with a scale per lane, and all that is to be known of the rounding.
void quantise(const Rotation &r, int y, int x, const float *value) {
    const int count = r.channels - 1, lanes = std::min(KEYS, r.w - x);
    const float up = 1 + (r.channels + 64) * 1.2e-7f;  // above all rounding of these sums
    float rest[KEYS] = {}, largest[KEYS] = {}, scale[KEYS], residual[KEYS] = {}, tail[LEVELS][KEYS] = {};
    for (int c = 1; c <= count; c++)
        for (int l = 0; l < KEYS; l++) {
            const float v = value[c * KEYS + l];
            rest[l] += v * v, largest[l] = std::max(largest[l], std::fabs(v));
        }
    for (int l = 0; l < KEYS; l++)  // int16; and, by Cauchy-Schwarz, sums below 2^31: rounding adds sqrt(channels) / 2
        scale[l] = largest[l] > 1e-30f ? std::min(32766 / largest[l], 46200 / (std::sqrt(rest[l]) * up)) : 1e30f;
    for (int p = 0; p < r.pairs; p++) {
        int32_t word[KEYS] = {};
        for (int half = 0; half < 2 && 2 * p + half < count; half++)
            for (int l = 0; l < KEYS; l++) {
                const float exact = value[(2 * p + half + 1) * KEYS + l] * scale[l];
                const float whole = (exact + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: to the nearest integer
                residual[l] += (exact - whole) * (exact - whole);
                word[l] |= (int32_t(whole) & 0xffff) << (16 * half);
                for (int n = 0; n < LEVELS; n++)
                    if (p >= PREFIX[n]) tail[n][l] += whole * whole;
            }
        std::memcpy(r.out_pairs + (size_t(y) * r.pairs + p) * r.wide + x, word, lanes * 4);
    }
    float fact[FACTS][KEYS];
    for (int l = 0; l < KEYS; l++) {
        const float tiny = 1e-17f;  // above what is lost where squares underflow
        const float rest_norm = std::sqrt(rest[l]) * up + tiny;
        const float norm = std::sqrt(value[l] * value[l] + rest[l]) * up + tiny;
        // `exact` is itself rounded, by at most 2^-9 where it is below 2^15
        const float error = (std::sqrt(residual[l]) + std::sqrt(float(count)) / 512) * up / scale[l];
        fact[SCALE][l] = 1 / scale[l], fact[LEAD][l] = value[l];
        fact[RESIDUAL][l] = (error + r.error * norm + r.rest_error * rest_norm) * up;
        fact[NORM][l] = (norm + fact[RESIDUAL][l]) * up;
        for (int n = 0; n < LEVELS; n++) fact[TAIL + n][l] = std::sqrt(tail[n][l]) / scale[l] * up;
    }
    for (int n = 0; n < FACTS; n++) std::memcpy(r.facts + (size_t(y) * FACTS + n) * r.wide + x, fact[n], lanes * 4);
}

}  // namespace

extern "C" {

int corrbench_rotate(const Rotation *r) {
    return in_parallel(r->h, r->threads, [&](auto next) {
        const size_t bytes = size_t(r->stride) * KEYS * 4;
        const Buffer panel(bytes), value(bytes), zeros(bytes / KEYS);
        std::memset(zeros.data, 0, bytes / KEYS);
        for (int y; (y = next()) < r->h;)
            for (int x = 0; x < r->w; x += KEYS) {
                rotate(*r, y, x, panel.of<float>(), value.of<float>(), zeros.of<float>());
                quantise(*r, y, x, value.of<float>());
            }
    });
}

// `count` target frames of one sequence.
int corrbench_search(Search *searches, int count, int threads) {
    const int h = searches->h, tiles = (searches->w + QUERIES - 1) / QUERIES, strips = (tiles + TILES - 1) / TILES;
    const int wanted = threads > 1 ? (4 * threads + count * strips - 1) / (count * strips) : 1;
    const int rows = std::max((h + wanted - 1) / wanted, std::min(h, 8)), parts = (h + rows - 1) / rows;
    for (int n = 0; n < count; n++) searches[n].redone = 0;
    return in_parallel(count * strips * parts, threads, [&](auto next) {
        for (int n; (n = next()) < count * strips * parts;) {
            Search &s = searches[n / (strips * parts)];
            const int strip = n / parts % strips, top = n % parts * rows;
            Strip work(s, rows);
            const int from = tiles * strip / strips, to = tiles * (strip + 1) / strips;
            work.run(from * QUERIES, to * QUERIES, top, std::min(h, top + rows));
            __atomic_fetch_add(&s.redone, work.redone, __ATOMIC_RELAXED);
        }
    });
}
}
