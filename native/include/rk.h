/* rk.h - what do the C kernels promise?
 *
 * Every kernel takes a whole batch or a whole text, allocates nothing, keeps no state and knows nothing of Python: the
 * caller owns inputs, outputs and scratch, and does not change the inputs while a call runs (the GIL is released). Inputs
 * and outputs never overlap. Arithmetic is in unsigned integers, so every compiler and every processor gives the same bits.
 * Those of claim.c alone touch files.
 *
 * The lines between the two cffi marks are also what native/build_native.py declares to Python. Raise RK_ABI_VERSION,
 * here and in reactord/kernels/__init__.py, whenever a declaration or the meaning of a result changes.
 */
#ifndef RK_H
#define RK_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
#define RK_ABI_VERSION 5
#define RK_OK 0
#define RK_EINVAL -1 /* an argument breaks the contract; nothing was written, unless said so */
#define RK_ECHANGED -2 /* a file is not, or not for good, what it was */

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

/* How much a JSON text holds: what opens a container, and in all what opens one or is a comma, outside of strings. Parsed,
 * it has as many containers, and at most one value more (a key and its value are one). */
size_t rk_json_values(const uint8_t *text, size_t len, size_t *containers);

/* Some elements of a list, or members of an object, that lie side by side in a JSON text. */
typedef struct {
    int64_t begin, end; /* with the commas between them, without those around them */
    int64_t value;      /* where the value of the only one begins, when that one has `least` bytes or more; else -1 */
} rk_piece;

/* Where a JSON list or object can be cut into pieces that may be parsed by themselves, in order: of many small elements
 * together (fewer than 2 * least bytes), or of a large one alone. White space around the text is allowed.
 *   least   more than 0
 *   pieces  out, room for cap of them; 2 * len / least + 2 are always enough
 * Returns how many there are: none when the container is empty, or the text none. RK_EINVAL: it does not end as it begins,
 * or there are more than cap; what is in pieces is then of no use. Of what is no JSON a piece may be anything: when each
 * is some elements or members, and none is blank, then the text was JSON. */
int64_t rk_json_pieces(const uint8_t *text, size_t len, size_t least, rk_piece *pieces, size_t cap);

/* The lines of a text in which each one begins with { and ends with }, a newline behind it.
 *   ends  out, for each line the offset behind its newline; room for cap of them
 * Returns how many lines there are, or RK_EINVAL when a line is another one, or when there are more than cap;
 * what is in ends is then of no use. */
int64_t rk_json_lines(const uint8_t *text, size_t len, int64_t *ends, size_t cap);

/* One drop file, and what became of it. */
typedef struct {
    int64_t device, inode, size, mtime_ns; /* as they were before it was read */
    int64_t at;                            /* where its bytes begin, in those of all */
    int32_t file;                          /* the descriptor that holds a read lease on it; -1: none does */
    int32_t outcome;                       /* RK_OK, RK_ECHANGED or an errno (positive); see rk_claim_files */
} rk_file;

/* Read the files of a directory by n names, each with a NUL behind it; nothing on the disk is changed.
 *   bytes, room  out, their bytes, end to end
 *   found        out, a row for each name that was looked at
 * A file is read, and stays open under a read lease (Linux; its holder is told by SIGURG), if it is a regular file, not a
 * link, owned by this user, of one name, not larger than room, open for writing by nobody, and was read whole. Any other
 * one is closed again: its file is -1, and the rest of its row means nothing.
 * Returns how many names were looked at: all, or those in front of the first file for which no room was left. */
int64_t rk_read_files(const char *directory, const char *names, size_t n, uint8_t *bytes, size_t room, rk_file *found);

/* Move every file that is still held to its name among the claims (in target, on the same disk), in order, and close it.
 * Its outcome is RK_OK when what lies there is what was read and nobody has opened it for writing since; RK_ECHANGED when
 * it was moved and that is not so; or the errno for which it was not moved. */
void rk_claim_files(const char *directory, const char *names, const char *target, const char *claims, size_t n,
                    rk_file *found);

/* Unlink n names, each with a NUL behind it, in order. Returns how many are gone, those that were so before included: all,
 * or those in front of the one that could not be unlinked, with its errno in error (else 0). */
int64_t rk_unlink_files(const char *directory, const char *names, size_t n, int32_t *error);
/* cffi: end */

#endif
