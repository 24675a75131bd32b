// Pixel counts of J and F: the numbers that bits.py counts, for every frame and object, on one core without numpy.
//
// A mask becomes rows of 64-bit words, bit i of word w being pixel 64 w + i. Rows carry one empty word on either side, so
// that a shift needs no test for an end. Bits beyond the last column may hold rubbish after a dilation; they are only
// ever compared with boundaries, which have none there.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

typedef uint64_t Word;

// Bit i of the result: pixel i of 64 is `id`.
inline Word pack(const uint8_t* pixels, uint8_t id) {
    Word word = 0;
#if defined(__AVX512BW__)
    word = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(pixels), _mm512_set1_epi8(static_cast<char>(id)));
#elif defined(__AVX2__)
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(id));
    for (int half = 0; half < 2; half++) {
        const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pixels + 32 * half));
        const uint32_t bits = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(some, wanted)));
        word |= static_cast<Word>(bits) << (32 * half);
    }
#else
    for (int i = 0; i < 64; i++) word |= static_cast<Word>(pixels[i] == id) << i;
#endif
    return word;
}

// Rows and words that hold any pixel: top <= y < bottom, left <= w < right.
struct Box {
    int top, bottom, left, right;
};

struct Mask {
    int height, words, stride;  // stride: words + 2
    std::vector<Word> data;
    Box box;  // everything outside is empty

    Mask(int height, int words)
        : height(height), words(words), stride(words + 2), data(size_t(height) * (words + 2)), box{height, 0, words, 0} {}
    Word* row(int y) { return data.data() + size_t(y) * stride + 1; }
    const Word* row(int y) const { return data.data() + size_t(y) * stride + 1; }

    void clear(const Box& next) {
        for (int y = box.top; y < box.bottom; y++) std::memset(row(y) - 1, 0, size_t(stride) * sizeof(Word));
        box = next;
    }

    void read(const uint8_t* pixels, int width, uint8_t id) {
        const int whole = width / 64, rest = width % 64;
        std::vector<Word> columns(words);  // all rows laid over each other
        box = {height, 0, words, 0};
        for (int y = 0; y < height; y++, pixels += width) {
            Word* here = row(y);
            for (int w = 0; w < whole; w++) here[w] = pack(pixels + 64 * w, id);
            if (rest && whole) {
                here[whole] = pack(pixels + width - 64, id) >> (64 - rest);
            } else if (rest) {
                uint8_t narrow[64] = {0};
                std::memcpy(narrow, pixels, rest);
                here[0] = pack(narrow, id);
            }
            Word any = 0;
            for (int w = 0; w < words; w++) columns[w] |= here[w], any |= here[w];
            if (any) box.top = std::min(box.top, y), box.bottom = y + 1;
        }
        for (int w = 0; w < words; w++)
            if (columns[w]) box.left = std::min(box.left, w), box.right = w + 1;
    }
};

inline int64_t ones(Word word) { return __builtin_popcountll(word); }

// Pixels that differ from their right, lower or lower right neighbour; the last row looks right only, the last column
// down only, the last corner is no boundary (bits.boundary says where this comes from).
void boundary(const Mask& mask, int width, Mask& edges) {
    const Box& box = mask.box;
    edges.clear({std::max(box.top - 1, 0), box.bottom, std::max(box.left - 1, 0), box.right});
    const int end_word = (width - 1) / 64;
    const Word end = Word(1) << ((width - 1) % 64);
    for (int y = edges.box.top; y < edges.box.bottom; y++) {
        const bool last = y == mask.height - 1;
        const Word *here = mask.row(y), *below = last ? here : mask.row(y + 1);
        Word* __restrict edge = edges.row(y);
        for (int w = edges.box.left; w < edges.box.right; w++) {
            const Word right = here[w] >> 1 | here[w + 1] << 63;
            const Word corner = last ? right : below[w] >> 1 | below[w + 1] << 63;
            edge[w] = (here[w] ^ right) | (here[w] ^ below[w]) | (here[w] ^ corner);
        }
        edge[end_word] = (edge[end_word] & ~end) | ((here[end_word] ^ below[end_word]) & end);
    }
}

// Dilates by a disk: each row is grown along x to the disk's half-widths, from its rim inwards, and laid above and below.
void dilate(const Mask& edges, int radius, const std::vector<int>& half_widths, Mask& near, std::vector<Word>& scratch) {
    const Box& box = edges.box;
    const int reach = (radius + 63) / 64, words = edges.words;
    near.clear({std::max(box.top - radius, 0), std::min(box.bottom + radius, edges.height), std::max(box.left - reach, 0),
                std::min(box.right + reach, words)});
    const int left = near.box.left, right = near.box.right;
    std::fill(scratch.begin(), scratch.end(), 0);
    for (int y = box.top; y < box.bottom; y++) {
        Word *row = scratch.data() + 1, *next = scratch.data() + edges.stride + 1;
        std::memcpy(row + left, edges.row(y) + left, size_t(right - left) * sizeof(Word));
        int grown = 0;
        for (int dy = radius; dy >= 0; dy--) {
            while (grown < half_widths[dy]) {
                const int step = std::min({half_widths[dy] - grown, 2 * grown + 1, 63}), back = 64 - step;
                const Word* from = row;
                Word* __restrict to = next;
                for (int w = left; w < right; w++)
                    to[w] = from[w] | from[w] << step | from[w - 1] >> back | from[w] >> step | from[w + 1] << back;
                std::swap(row, next);
                grown += step;
            }
            const Word* from = row;
            if (y >= dy) {
                Word* __restrict above = near.row(y - dy);
                for (int w = left; w < right; w++) above[w] |= from[w];
            }
            if (dy && y + dy < edges.height) {
                Word* __restrict below = near.row(y + dy);
                for (int w = left; w < right; w++) below[w] |= from[w];
            }
        }
    }
}

int64_t pixels_of_both(const Mask& one, const Mask& other) {
    const Box &a = one.box, &b = other.box;
    int64_t sum = 0;
    for (int y = std::max(a.top, b.top); y < std::min(a.bottom, b.bottom); y++)
        for (int w = std::max(a.left, b.left); w < std::min(a.right, b.right); w++)
            sum += ones(one.row(y)[w] & other.row(y)[w]);
    return sum;
}

}  // namespace

// truth, found: ids (frames, height, width). counts (6, objects, frames): intersection, union, boundary pixels of truth
// and of found, matched ones of each. highest (frames): the highest id of found.
extern "C" void davis_counts(const uint8_t* truth, const uint8_t* found, int32_t frames, int32_t height, int32_t width,
                             const uint8_t* ids, int32_t objects, int32_t radius, int64_t* counts, uint8_t* highest) {
    const int words = (width + 63) / 64;
    std::vector<int> half_widths(radius + 1);
    for (int dy = 0, x = radius; dy <= radius; dy++) {
        while (x * x + dy * dy > radius * radius) x--;
        half_widths[dy] = x;
    }
    std::vector<Word> scratch(2 * size_t(words + 2));
    Mask masks[2] = {Mask(height, words), Mask(height, words)}, edges[2] = {masks[0], masks[0]}, near[2] = {masks[0], masks[0]};
    const uint8_t* pictures[2] = {truth, found};
    const size_t pixels = size_t(height) * width;
    for (int t = 0; t < frames; t++) {
        highest[t] = *std::max_element(found + t * pixels, found + (t + 1) * pixels);
        for (int k = 0; k < objects; k++) {
            for (int side = 0; side < 2; side++) {
                masks[side].read(pictures[side] + t * pixels, width, ids[k]);
                boundary(masks[side], width, edges[side]);
                dilate(edges[side], radius, half_widths, near[side], scratch);
            }
            const int64_t both = pixels_of_both(masks[0], masks[1]);
            const int64_t values[6] = {both,
                                       pixels_of_both(masks[0], masks[0]) + pixels_of_both(masks[1], masks[1]) - both,
                                       pixels_of_both(edges[0], edges[0]),
                                       pixels_of_both(edges[1], edges[1]),
                                       pixels_of_both(edges[0], near[1]),
                                       pixels_of_both(edges[1], near[0])};
            for (int i = 0; i < 6; i++) counts[(size_t(i) * objects + k) * frames + t] = values[i];
        }
    }
}
