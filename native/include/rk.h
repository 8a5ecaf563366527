/* rk.h - what do the C kernels promise?
 *
 * Every kernel takes a whole batch or a whole text, allocates nothing, keeps no state and knows nothing of Python: the
 * caller owns inputs, outputs and scratch, and does not change the inputs while a call runs (the GIL is released). Inputs
 * and outputs never overlap. Arithmetic is in unsigned integers, so every compiler and every processor gives the same bits.
 *
 * The lines between the two cffi marks are also what native/build_native.py declares to Python. Raise RK_ABI_VERSION,
 * here and in reactord/kernels/__init__.py, whenever a declaration or the meaning of a result changes.
 */
#ifndef RK_H
#define RK_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
#define RK_ABI_VERSION 3
#define RK_OK 0
#define RK_EINVAL -1 /* an argument breaks the contract; nothing was written, unless said so */

int rk_abi_version(void);

/* MinHash signatures of n documents.
 *   text  the documents' bytes, packed end to end; document i is text[off[i] .. off[i+1]) (Arrow's large_utf8 layout)
 *   off   n + 1 offsets, not negative, never falling, none above len
 *   w     words in a shingle, 1..8; a document of fewer words is one shingle
 *   a, b  k multipliers (odd) and k addends; k is a positive multiple of 8
 *   sig   out, n rows of k: row i slot p = min over the shingles x of document i of a[p] * x + b[p] mod 2^32;
 *         a document without words has 0xffffffff in every slot
 * A word is a longest run of bytes above 0x20, with A-Z read as a-z. Other normalisation is the caller's.
 * Returns RK_OK or RK_EINVAL. */
int rk_minhash_words(const uint8_t *text, size_t len, const int64_t *off, size_t n, int32_t w, const uint32_t *a,
                     const uint32_t *b, size_t k, uint32_t *sig);

/* How many containers of a JSON text are open at once, at most: brackets outside of strings are counted. Of bytes that are
 * no JSON it is some number, at most len. */
size_t rk_json_depth(const uint8_t *text, size_t len);

/* The lines of a text in which each one begins with { and ends with }, a newline behind it.
 *   ends  out, for each line the offset behind its newline; room for cap of them
 * Returns how many lines there are, or RK_EINVAL when a line is another one, or when there are more than cap;
 * what is in ends is then of no use. */
int64_t rk_json_lines(const uint8_t *text, size_t len, int64_t *ends, size_t cap);
/* cffi: end */

#endif
