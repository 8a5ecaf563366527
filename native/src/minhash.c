/* minhash.c - which texts share most of their word shingles?
 *
 * One pass per document: bytes -> word hashes (FNV-1a) -> shingle hashes -> k running minima (Broder 1997). It is fast
 * because no word or shingle becomes a Python object, and because the loop over the k minima is plain enough for the
 * compiler to vectorise: of four layouts tried with gcc 12 (registers over a block of shingles, 4 shingles at a time ...)
 * none beat it. It uses no intrinsics; gcc clones that one loop for wider vectors where the loader can choose.
 * It does NOT resolve likeness below 1/k, normalise Unicode, or resist crafted collisions (the hashes are not keyed).
 *
 * tests/reference/minhash.py is the slow version of this file; tests/unit/test_minhash.py holds the two equal.
 */
#include "rk.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "signatures are stored as little-endian bytes; this machine is big-endian and not supported"
#endif

/* Function clones need an ELF loader with ifunc and a gcc that names them consistently: clang before 18 does not link
 * them and musl dies on load. __GLIBC__ is defined by any libc header, hence after rk.h. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && \
    !defined(RK_NO_CLONES)
#define RK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RK_CLONES
#endif

enum { MAX_WORDS = 8 };

/* sig[p] = min(sig[p], a[p] * x + b[p]): one shingle enters all k minima */
RK_CLONES static void lower_minima(uint32_t x, const uint32_t *restrict a, const uint32_t *restrict b, size_t k,
                                   uint32_t *restrict sig) {
    for (size_t p = 0; p < k; p++) {
        uint32_t h = a[p] * x + b[p];
        sig[p] = h < sig[p] ? h : sig[p];
    }
}

/* Words in order -> one well mixed number; the last three lines are MurmurHash3's finaliser (Appleby, public domain).
 * Without it a * x + b would rank shingles by the last byte FNV-1a saw. */
static uint32_t shingle_hash(const uint32_t *word, int32_t w) {
    uint32_t h = 0;
    for (int32_t i = 0; i < w; i++) h = ((h << 5 | h >> 27) ^ word[i]) * 0x9e3779b1u;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

static void sign_document(const uint8_t *at, const uint8_t *end, int32_t w, const uint32_t *a, const uint32_t *b, size_t k,
                          uint32_t *sig) {
    uint32_t last[MAX_WORDS] = {0}; /* hashes of the last words, newest at the end */
    int32_t have = 0;               /* words seen, at most w */

    for (size_t p = 0; p < k; p++) sig[p] = UINT32_MAX;
    for (;;) {
        while (at < end && *at <= ' ') at++;
        if (at == end) break;
        uint32_t h = 2166136261u; /* FNV-1a's offset and, below, its prime */
        for (; at < end && *at > ' '; at++) {
            uint32_t c = *at;
            h = (h ^ (c - 'A' < 26u ? c | 0x20u : c)) * 16777619u;
        }
        for (int i = 1; i < MAX_WORDS; i++) last[i - 1] = last[i];
        last[MAX_WORDS - 1] = h;
        if (have < w) have++;
        if (have == w) lower_minima(shingle_hash(last + MAX_WORDS - w, w), a, b, k, sig);
    }
    if (have > 0 && have < w) lower_minima(shingle_hash(last + MAX_WORDS - have, have), a, b, k, sig);
}

int rk_minhash_words(const uint8_t *text, size_t len, const int64_t *off, size_t n, int32_t w, const uint32_t *a,
                     const uint32_t *b, size_t k, uint32_t *sig) {
    if (w < 1 || w > MAX_WORDS || k == 0 || k % 8 != 0) return RK_EINVAL;
    if (off[0] < 0 || (uint64_t)off[n] > len) return RK_EINVAL;
    for (size_t i = 0; i < n; i++)
        if (off[i] > off[i + 1]) return RK_EINVAL; /* never falling, so each lies between the two checked ends */

    for (size_t i = 0; i < n; i++) sign_document(text + off[i], text + off[i + 1], w, a, b, k, sig + i * k);
    return RK_OK;
}
