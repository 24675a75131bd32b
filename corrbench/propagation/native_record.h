// What the pruned search knows of a cell: a record of 32-bit words, made by rotating its vector and rounding it to bytes.
//
// The first coordinates on the principal directions, the leads, stay fp32; the rest are signed bytes with a scale of
// the cell's own, four in a word. Every norm below is rounded up, so that the bounds made of them hold.
#pragma once
#include <cmath>

#include "native_tile.h"

namespace {

constexpr int PREFIX = 6;  // words of bytes that the first, cheap test sees
constexpr int CHUNK = 32;  // channels the rotation sums at a time: E pays for the bound on their rounding

// Words of a record: these four, the leads, SCALE, SOME and ALL, which end at `codes`, the bytes. Words [NORM, SCALE) of
// a key times those of a query, summed, are the leads' product and E (below); with TAIL, also a bound on what bytes after
// PREFIX add. A query has ERROR and NORM exchanged, and WHOLE times the search's slack:
//   E = error norm' + norm error' + slack whole whole'
// bounds |approximate - fp32 similarity|: rounding to bytes, by Cauchy-Schwarz on `norm`, the rest's, and all other
// rounding (rotation, fp32 sums) by that on `whole`, the vector's.
enum Word { TAIL, NORM, ERROR, WHOLE, LEADS, SCALE = -3, SOME, ALL };  // the last three: from `codes` on

struct Rotation {
    int32_t cells, channels, stride, words, codes, threads;
    const float *vectors;  // (cells, stride)
    const float *basis;    // (channels and up to GROUP rows of zeros, stride): directions, the principal one first
    int32_t *records;      // out (cells, words)
};

// Coordinates (channels, TILE) of as many cells, a lane each.
void rotate(const Rotation &r, const float *const *rows, float *panel, float *value) {
    transpose(rows, TILE, r.stride, panel, TILE);
    for (int first = 0; first < r.channels; first += GROUP) {
        const float *directions[GROUP];
        for (int n = 0; n < GROUP; n++) directions[n] = r.basis + size_t(first + n) * r.stride;
        Floats total[GROUP][2] = {};
        for (int c = 0; c < r.channels; c += CHUNK) {
            Floats sum[GROUP][2] = {};
            multiply<2, float>(panel, directions, directions, c, std::min(c + CHUNK, r.channels), sum);
            for (int n = 0; n < GROUP; n++) total[n][0] += sum[n][0], total[n][1] += sum[n][1];
        }
        for (int n = 0; n < GROUP; n++)
            for (int j = 0; j < 2; j++) store(value + (first + n) * TILE + j * LANES, total[n][j]);
    }
}

// The records (words, TILE) of coordinates (channels, TILE).
void quantise(const Rotation &r, const float *value, float *record) {
    const int leads = std::min(r.codes + SCALE - LEADS, r.channels), bytes = r.channels - leads;
    const float up = 1 + (r.channels + 64) * 1.2e-7f;  // above all rounding of these sums
    const float tiny = 1e-17f;                         // above what is lost where squares underflow
    float lead[TILE] = {}, rest[TILE] = {}, largest[TILE] = {}, scale[TILE], residual[TILE] = {}, tail[TILE] = {};
    int32_t some[TILE] = {}, all[TILE] = {};
    std::memset(record, 0, sizeof(float) * r.words * TILE);
    std::memcpy(record + LEADS * TILE, value, sizeof(float) * leads * TILE);
    for (int c = 0; c < leads; c++)
        for (int l = 0; l < TILE; l++) lead[l] += value[c * TILE + l] * value[c * TILE + l];
    for (int c = leads; c < r.channels; c++)
        for (int l = 0; l < TILE; l++) {
            const float v = value[c * TILE + l];
            rest[l] += v * v, largest[l] = std::max(largest[l], std::fabs(v));
        }
    for (int l = 0; l < TILE; l++) scale[l] = largest[l] > 1e-30f ? 127 / largest[l] : 0;
    for (int c = 0; c < bytes; c++) {
        int32_t word[TILE];
        std::memcpy(word, record + (r.codes + c / 4) * TILE, sizeof word);
        const bool late = c >= 4 * PREFIX;
        for (int l = 0; l < TILE; l++) {
            const float exact = value[(leads + c) * TILE + l] * scale[l];
            const float whole = (exact + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: to the nearest integer
            const int32_t code = int32_t(whole);
            residual[l] += (exact - whole) * (exact - whole);
            tail[l] += late ? whole * whole : 0;
            some[l] += late ? 0 : code, all[l] += code;
            word[l] |= (code & 255) << (8 * (c % 4));
        }
        std::memcpy(record + (r.codes + c / 4) * TILE, word, sizeof word);
    }
    for (int l = 0; l < TILE; l++) {
        const float step = scale[l] > 0 ? 1 / scale[l] : 0;
        const float norm = std::sqrt(rest[l]) * up + tiny;
        const float error = scale[l] > 0 ? std::sqrt(residual[l]) * step * up + 4e-7f * norm : norm;  // products round
        record[NORM * TILE + l] = (norm + error) * up;  // of the rest as it is, and as bytes give it
        record[ERROR * TILE + l] = error * up;
        record[WHOLE * TILE + l] = std::sqrt(lead[l] + rest[l]) * 1.002f + tiny;  // the rotation's rounding: far less
        record[TAIL * TILE + l] = std::sqrt(tail[l]) * step * up;
        record[(r.codes + SCALE) * TILE + l] = step;
        some[l] *= -128, all[l] *= -128;  // a query's bytes have 128 added: this takes it off again
    }
    std::memcpy(record + (r.codes + SOME) * TILE, some, sizeof some);
    std::memcpy(record + (r.codes + ALL) * TILE, all, sizeof all);
}

bool make_records(const Rotation &r) {
    return in_parallel((r.cells + TILE - 1) / TILE, r.threads, [&](auto next) {
        const Buffer<float> panel(size_t(r.stride) * TILE), value(size_t(r.channels + GROUP) * TILE);
        const Buffer<float> record(size_t(r.words) * TILE), turned(size_t(r.words) * TILE);
        for (int n; (n = next() * TILE) < r.cells;) {
            const float *rows[TILE];
            for (int l = 0; l < TILE; l++) rows[l] = r.vectors + size_t(std::min(n + l, r.cells - 1)) * r.stride;
            rotate(r, rows, panel.data, value.data);
            quantise(r, value.data, record.data);
            for (int w = 0; w < r.words; w += LANES) {
                for (int l = 0; l < LANES; l++) rows[l] = record.data + (w + l) * TILE;
                transpose(rows, LANES, TILE, turned.data + w, r.words);
            }
            std::memcpy(r.records + size_t(n) * r.words, turned.data, sizeof(float) * r.words * std::min(TILE, r.cells - n));
        }
    });
}

}  // namespace
