// The k most similar keys of every query cell inside a window: exact, streaming, by tiles of queries.
//
// A tile holds two vectors of queries, 4 cells wide, a lane each; keys are broadcast to them one by one, so whatever the
// window, only keys that one of the vectors sees are multiplied.
//
// fp32 search. A similarity is one fp32 dot product over the channels in their order, the same chain of operations in
// whatever tile, so equal features tie exactly and neither threads nor tiles change a bit. Better is: more similar, or
// as similar and of lower index. So the order in which keys come does not matter, and the nearest come first.
//
// Pruned search. Every cell also has a record of bytes (native_record.h), from which follow two numbers for each query
// and key: the similarity is between upper - 2 E and upper. A key whose upper is below the k-th best lower cannot be
// among the best. A test on the first coordinates drops most keys, one on all of them most others, and what is left is
// scored by the code of the fp32 search: the result is the same bit for bit. A query with more such keys than its list
// holds goes through the fp32 search.
#include <functional>

#include "native_record.h"

namespace {

constexpr int BAND = 16;  // tiles side by side that see a frame together
constexpr int AHEAD = 2;  // groups of keys from what is multiplied to what is fetched
constexpr uint32_t HALF = (uint64_t(1) << LANES) - 1;

struct Frame {
    const float *vectors;    // (h * w, stride): channels of a cell side by side, zeros after them
    const int32_t *records;  // (h * w, words)
};

struct Search {  // one target frame
    int32_t h, w, channels, stride, words, codes, end, k, capacity;  // records: words, of them bytes in [codes, end)
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

struct Key {
    int32_t cell;   // of one frame or, where several are mixed, frame * h * w + cell
    uint32_t seen;  // bit l: by query l of the tile
};

struct Keys {  // by who sees them: one vector of queries, the other, both; whole groups, when padded
    std::vector<Key> by[3];

    void clear() { for (auto &keys : by) keys.clear(); }
    void add(Key key) {
        if (key.seen) by[!(key.seen & HALF) ? 1 : key.seen >> (LANES - 1) >> 1 ? 2 : 0].push_back(key);
    }
    void pad() { for (auto &keys : by) while (keys.size() % GROUP) keys.push_back({keys.back().cell, 0}); }
    size_t size() const { return by[0].size() + by[1].size() + 2 * by[2].size(); }
};

struct List {  // a query's best keys so far
    float *top;  // the k best similarities or, approximate, lower bounds, descending
    float *score;
    int32_t *key;  // exact: of `top`; approximate: with their upper bounds in `score`, all keys that can still matter
    int found, size;
    bool failed;

    void clear(float &floor) { found = size = 0, floor = -INFINITY, failed = false; }

    void add_exact(float s, int32_t its, int k, float &floor) {
        auto behind = [&](int n) { return s > top[n] || (s == top[n] && its < key[n]); };
        if (found == k && !behind(k - 1)) return;
        int at = found < k ? found++ : k - 1;
        for (; at > 0 && behind(at - 1); at--) top[at] = top[at - 1], key[at] = key[at - 1];
        top[at] = s, key[at] = its;
        if (found == k) floor = top[k - 1];
    }

    void add_approximate(float lower, float upper, int32_t its, int k, int capacity, float &floor) {
        if (upper < floor || failed) return;
        if (!(lower > -INFINITY)) lower = -INFINITY;  // where bounds overflow
        if (found < k || lower > top[k - 1]) {
            int at = found < k ? found++ : k - 1;
            for (; at > 0 && lower > top[at - 1]; at--) top[at] = top[at - 1];
            top[at] = lower;
            if (found == k) floor = top[k - 1] - 1e-30f;  // more than what underflows
        }
        if (size == capacity) drop(floor);
        if (size == capacity) failed = true, floor = INFINITY;
        else score[size] = upper, key[size++] = its;
    }

    void drop(float floor) {
        int kept = 0;
        for (int n = 0; n < size; n++)
            if (!(score[n] < floor)) score[kept] = score[n], key[kept++] = key[n];
        size = kept;
    }
};

struct Tile {
    int x, y;
    Keys near;     // in its window
    float *query;  // vectors, or records, one below another: (words, TILE)
    List lists[TILE];
    float floor[TILE];  // nothing below can matter

    bool holds(const Search &s, int l) const { return x + l % ACROSS < s.w && y + l / ACROSS < s.h; }
    int cell(const Search &s, int l) const { return (y + l / ACROSS) * s.w + x + l % ACROSS; }
};

enum Form { EXACT, FIRST, FULL };  // all of the vectors; the first words of the records, or all

struct Band {  // tiles of one row
    const Search &s;
    const int cells;
    int64_t redone = 0;
    std::vector<Tile> tiles;
    Buffer<float> queries, tops, scores, zeros;
    Buffer<int32_t> keys;
    struct Offset { int dy, dx; uint32_t seen; };  // of keys in the window of a tile's queries
    std::vector<Offset> offsets;
    Keys whole, left;
    struct Candidate { float upper; Key key; };
    std::vector<Candidate> candidates;
    std::vector<Key> some;
    std::vector<std::pair<float, int32_t>> best;
    size_t asked = 0, kept = 0, tick = 0;  // of the first test

    Band(const Search &search, int row, int from, int to)
        : s(search), cells(s.h * s.w), tiles(to - from), queries(tiles.size() * std::max(s.stride, s.words) * TILE),
          tops(tiles.size() * TILE * s.k), scores(tiles.size() * TILE * s.capacity),
          zeros(std::max(s.stride, s.words)), keys(tiles.size() * TILE * s.capacity) {
        list_offsets();
        for (size_t t = 0; t < tiles.size(); t++) {
            Tile &tile = tiles[t];
            tile.x = (from + int(t)) * ACROSS, tile.y = row * DOWN;
            tile.query = queries.data + t * std::max(s.stride, s.words) * TILE;
            for (int l = 0; l < TILE; l++) {
                const size_t n = t * TILE + l;
                tile.lists[l].top = tops.data + n * s.k, tile.lists[l].score = scores.data + n * s.capacity;
                tile.lists[l].key = keys.data + n * s.capacity;
            }
        }
    }

    void run() {
        search(tiles.data(), tiles.size(), ~0u, s.pruned);
        for (Tile &tile : tiles) {
            if (s.pruned) rescore(tile);
            for (int l = 0; l < TILE; l++)
                if (tile.holds(s, l)) write(tile, l);
        }
    }

    void search(Tile *some, size_t count, uint32_t lanes, bool pruned) {
        for (Tile *tile = some; tile < some + count; tile++) {
            const uint32_t inside = start(*tile, lanes, pruned);
            tile->near.clear();
            for (const Offset &o : offsets) {
                const int y = tile->y + o.dy, x = tile->x + o.dx;
                if (y >= 0 && y < s.h && x >= 0 && x < s.w) tile->near.add({y * s.w + x, o.seen & inside});
            }
            tile->near.pad();
        }
        for (int f = s.frames - 1; f >= 0; f--)  // the nearest frames raise the floors soonest
            for (Tile *tile = some; tile < some + count; tile++) {
                const bool all = s.reaches == 0 || (f == 0 && s.whole_first);
                if (all) list_whole(*tile, lanes);
                const Keys &keys = all ? whole : tile->near;
                pruned ? see_pruned(*tile, f, keys) : scan<EXACT>(*tile, f, keys);
            }
    }

    // The queries of a tile; which of `lanes` lie inside of the frame.
    uint32_t start(Tile &tile, uint32_t lanes, bool pruned) {
        const float *rows[TILE];
        const int words = pruned ? s.words : s.stride;
        uint32_t inside = 0;
        for (int l = 0; l < TILE; l++) {
            const bool there = tile.holds(s, l) && (lanes >> l & 1);
            rows[l] = there ? row(pruned ? FULL : EXACT, s.target, tile.cell(s, l)) : zeros.data;
            inside |= uint32_t(there) << l;
            if (there) tile.lists[l].clear(tile.floor[l]);
        }
        transpose(rows, TILE, words, tile.query, TILE);
        if (!pruned) return inside;
        std::swap_ranges(tile.query + NORM * TILE, tile.query + (NORM + 1) * TILE, tile.query + ERROR * TILE);
        for (int l = 0; l < TILE; l++) tile.query[WHOLE * TILE + l] *= s.slack;
        for (int w = s.codes * TILE; w < words * TILE; w += LANES)
            store(tile.query + w, load<Ints>(tile.query + w) ^ int32_t(0x80808080));  // adds 128: unsigned
        return inside;
    }

    const float *row(Form form, const Frame &frame, int cell) const {
        return form == EXACT ? frame.vectors + size_t(cell) * s.stride
                             : reinterpret_cast<const float *>(frame.records + size_t(cell) * s.words);
    }

    void list_offsets() {
        const int widest = s.reaches ? *std::max_element(s.reach, s.reach + s.reaches) : 0;
        for (int dy = 1 - s.reaches; dy < DOWN + s.reaches - 1 && s.reaches; dy++)
            for (int dx = -widest; dx < ACROSS + widest; dx++) {
                uint32_t seen = 0;
                for (int l = 0; l < TILE; l++) {
                    const int down = std::abs(dy - l / ACROSS), right = std::abs(dx - l % ACROSS);
                    seen |= uint32_t(down < s.reaches && right <= s.reach[down]) << l;
                }
                if (seen) offsets.push_back({dy, dx, seen});
            }
        auto far = [](const Offset &o) { return std::abs(2 * o.dy - DOWN + 1); };  // nearest rows first
        std::stable_sort(offsets.begin(), offsets.end(), [&](auto &a, auto &b) { return far(a) < far(b); });
    }

    void list_whole(const Tile &tile, uint32_t lanes) {
        uint32_t inside = 0;
        for (int l = 0; l < TILE; l++) inside |= uint32_t(tile.holds(s, l)) << l;
        whole.clear();
        for (int cell = 0; cell < cells; cell++) whole.add({cell, inside & lanes});
        whole.pad();
    }

    // A test that drops little is left out, but for every eighth time.
    void see_pruned(Tile &tile, int f, const Keys &keys) {
        const size_t cost = s.end - NORM, first = s.codes - TAIL + PREFIX;  // multiplications of a key
        if (kept * cost >= asked * (cost - std::min(cost, first)) && asked && ++tick % 8) {
            scan<FULL>(tile, f, keys);
            return;
        }
        left.clear();
        scan<FIRST>(tile, f, keys);
        left.pad();
        scan<FULL>(tile, f, left);
        asked += keys.size(), kept += left.size();
        if (asked > 1 << 18) asked /= 2, kept /= 2;
    }

    template <Form FORM>
    void scan(Tile &tile, int f, const Keys &keys) {
        scan_for<FORM, 1, 0>(tile, f, keys.by[0]);
        scan_for<FORM, 1, 1>(tile, f, keys.by[1]);
        scan_for<FORM, 2, 0>(tile, f, keys.by[2]);
    }

    // The keys that WIDE vectors see, from vector FROM on; f < 0: of several frames.
    template <Form FORM, int WIDE, int FROM>
    void scan_for(Tile &tile, int f, const std::vector<Key> &keys) {
        const float *query = tile.query + FROM * LANES;
        const float *rows[GROUP], *next[GROUP];
        auto place = [&](const Key *key, const float **to) {
            for (int n = 0; n < GROUP; n++)
                to[n] = f < 0 ? row(FORM, s.context[key[n].cell / cells], key[n].cell % cells)
                              : row(FORM, s.context[f], key[n].cell);
        };
        for (const Key *key = keys.data(), *end = key + keys.size(); key < end; key += GROUP) {
            place(key, rows);
            place(std::min(key + AHEAD * GROUP, end - GROUP), next);
            Floats sum[GROUP][WIDE] = {};
            multiply<WIDE, float>(query, rows, next, FORM == FULL ? NORM : 0, FORM == EXACT ? s.channels : s.codes + SCALE, sum);
            if (FORM != EXACT) add_bytes<FORM>(query, rows, next, sum);
            uint32_t hits[GROUP], any = 0;
#pragma GCC unroll 8
            for (int n = 0; n < GROUP; n++) {
                hits[n] = 0;
#pragma GCC unroll 2
                for (int j = 0; j < WIDE; j++) {
                    const Floats floor = load<Floats>(tile.floor + (FROM + j) * LANES);
                    hits[n] |= reaching(sum[n][j], floor) << ((FROM + j) * LANES);
                }
                any |= hits[n] &= key[n].seen;
            }
            if (!any) continue;
            for (int n = 0; n < GROUP; n++) {
                if (!hits[n]) continue;
                if (FORM == FIRST) left.add({key[n].cell, hits[n]});
                else take<FORM>(tile, query, sum[n], FROM * LANES, hits[n], rows[n], key[n].cell + std::max(f, 0) * cells);
            }
        }
    }

    template <Form FORM, int WIDE>
    void take(Tile &tile, const float *query, const Floats (&sum)[WIDE], int from, uint32_t hits, const float *record,
              int32_t its) {
        alignas(64) float upper[WIDE * LANES], lower[WIDE * LANES];
        for (int j = 0; j < WIDE; j++) {
            Floats error = {};
            for (int w = NORM; w <= WHOLE && FORM != EXACT; w++)
                error += load<Floats>(query + w * TILE + j * LANES) * record[w];
            store(upper + j * LANES, sum[j]);
            store(lower + j * LANES, sum[j] - 2 * error);
        }
        for (; hits; hits &= hits - 1) {
            const int l = __builtin_ctz(hits), at = l - from;
            if (FORM == EXACT) tile.lists[l].add_exact(upper[at], its, s.k, tile.floor[l]);
            else tile.lists[l].add_approximate(lower[at], upper[at], its, s.k, s.capacity, tile.floor[l]);
        }
    }

    template <Form FORM, int WIDE>
    void add_bytes(const float *query, const float *const *rows, const float *const *next, Floats (&sum)[GROUP][WIDE]) {
        Ints bytes[GROUP][WIDE];
#pragma GCC unroll 8
        for (int n = 0; n < GROUP; n++)
#pragma GCC unroll 2
            for (int j = 0; j < WIDE; j++) bytes[n][j] = load<int32_t>(rows[n] + s.codes + (FORM == FIRST ? SOME : ALL)) - Ints{};
        const int end = FORM == FIRST ? std::min(s.codes + PREFIX, s.end) : s.end;
        multiply<WIDE, int32_t>(query, rows, next, s.codes, end, bytes);
#pragma GCC unroll 8
        for (int n = 0; n < GROUP; n++)
#pragma GCC unroll 2
            for (int j = 0; j < WIDE; j++) {
                const Floats scale = load<Floats>(query + (s.codes + SCALE) * TILE + j * LANES);
                sum[n][j] += __builtin_convertvector(bytes[n][j], Floats) * rows[n][s.codes + SCALE] * scale;
            }
    }

    // What can still matter is scored by the fp32 code: first what looks best, for a floor that leaves fewer of the rest.
    // A query with too much of it is searched again.
    void rescore(Tile &tile) {
        uint32_t failed = 0;
        float cut[TILE];
        candidates.clear();
        for (int l = 0; l < TILE; l++) {
            List &list = tile.lists[l];
            if (!tile.holds(s, l)) continue;
            if (list.failed) {
                failed |= 1u << l, redone++;
                continue;
            }
            list.drop(tile.floor[l]);
            for (int n = 0; n < list.size; n++) candidates.push_back({list.score[n], {list.key[n], 1u << l}});
            cut[l] = -INFINITY;
            if (list.size <= s.k) continue;
            std::nth_element(list.score, list.score + s.k - 1, list.score + list.size, std::greater<float>());
            cut[l] = list.score[s.k - 1];
        }
        start(tile, ~0u, false);
        for (bool first : {true, false}) {
            some.clear();
            for (const Candidate &c : candidates) {
                const int l = __builtin_ctz(c.key.seen);
                if (first ? !(c.upper < cut[l]) : c.upper < cut[l] && !(c.upper < tile.floor[l])) some.push_back(c.key);
            }
            std::sort(some.begin(), some.end(), [](Key a, Key b) { return a.cell < b.cell; });
            left.clear();
            for (size_t n = 0, end; n < some.size(); n = end) {
                for (end = n + 1; end < some.size() && some[end].cell == some[n].cell;) some[n].seen |= some[end++].seen;
                left.add(some[n]);
            }
            left.pad();
            scan<EXACT>(tile, -1, left);
        }
        if (failed) search(&tile, 1, failed, false);
    }

    static bool ahead(const std::pair<float, int32_t> &a, const std::pair<float, int32_t> &b) {
        return a.first > b.first || (a.first == b.first && a.second < b.second);
    }

    // A query's best by distinct frame become k keys by slot. The k best distinct keys hold the k best of all slots: a
    // key's other slots come after its first, and k first slots come before that.
    void write(const Tile &tile, int l) {
        const List &list = tile.lists[l];
        const int cell = tile.cell(s, l), y = cell / s.w, x = cell % s.w;
        best.clear();
        for (int n = 0; n < list.found; n++) {
            const int f = list.key[n] / cells, at = list.key[n] % cells;
            const int dy = std::abs(at / s.w - y), dx = std::abs(at % s.w - x);
            const int *slot = s.slots + s.first_slot[f], *end = s.slots + s.first_slot[f + 1];
            best.emplace_back(list.top[n], *slot * cells + at);
            if (s.reaches && (dy >= s.reaches || dx > s.reach[dy])) continue;  // seen whole, in slot 0 only
            for (int copies = 1; ++slot < end && copies < s.k; copies++) best.emplace_back(list.top[n], *slot * cells + at);
        }
        std::sort(best.begin(), best.end(), ahead);
        for (int n = 0; n < s.k; n++) {
            const bool there = size_t(n) < best.size();
            s.index[size_t(cell) * s.k + n] = there ? best[n].second : -1;
            s.similarity[size_t(cell) * s.k + n] = there ? best[n].first : -INFINITY;
        }
    }
};

}  // namespace

extern "C" {

int corrbench_records(const Rotation *rotation) { return make_records(*rotation); }

// `count` target frames of one sequence.
int corrbench_search(Search *searches, int count, int threads) {
    const int across = (searches->w + ACROSS - 1) / ACROSS, rows = (searches->h + DOWN - 1) / DOWN;
    const int parts = (across + BAND - 1) / BAND;
    for (int n = 0; n < count; n++) searches[n].redone = 0;
    return in_parallel(count * rows * parts, threads, [&](auto next) {
        for (int n; (n = next()) < count * rows * parts;) {
            Search &s = searches[n / (rows * parts)];
            const int part = n % parts;
            Band band(s, n / parts % rows, across * part / parts, across * (part + 1) / parts);
            band.run();
            __atomic_fetch_add(&s.redone, band.redone, __ATOMIC_RELAXED);
        }
    });
}
}
