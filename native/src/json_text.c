/* What do the bytes of a JSON text tell before they are parsed?
 *
 * Strings are stepped over with memchr, so that long ones cost next to nothing.
 */
#include <string.h>

#include "rk.h"

/* The byte behind the string whose first byte is at `at`; `end` when it does not end. */
static const uint8_t *behind_string(const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        const uint8_t *quote = memchr(at, '"', (size_t)(end - at));
        if (quote == NULL)
            return end;
        const uint8_t *first = quote;
        while (first > at && first[-1] == '\\')
            first--;
        at = quote + 1;
        if (((quote - first) & 1) == 0) /* an even number of backslashes: the quote is not one of the text */
            return at;
    }
}

size_t rk_json_depth(const uint8_t *text, size_t len)
{
    const uint8_t *at = text, *end = text + len;
    size_t depth = 0, deepest = 0;
    while (at < end) {
        uint8_t byte = *at++;
        if (byte == '"') {
            at = behind_string(at, end);
        } else if (byte == '{' || byte == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

size_t rk_json_values(const uint8_t *text, size_t len, size_t *containers)
{
    const uint8_t *at = text, *end = text + len;
    size_t commas = 0, opened = 0;
    while (at < end) {
        uint8_t byte = *at++;
        if (byte == '"')
            at = behind_string(at, end);
        else if (byte == '{' || byte == '[')
            opened++;
        else if (byte == ',')
            commas++;
    }
    *containers = opened;
    return commas + opened;
}

static int is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* What is being cut, and what is known of the element that is being read. */
typedef struct {
    rk_piece *pieces;
    size_t n, cap, least;
    int64_t begin;          /* of the piece that grows */
    int64_t element, value; /* where the element begins, and where its value does */
} cutter;

static int add_piece(cutter *cut, int64_t begin, int64_t end, int64_t value)
{
    if (cut->n == cut->cap)
        return 0;
    cut->pieces[cut->n++] = (rk_piece){begin, end, value};
    return 1;
}

/* An element ends at `end`, where a comma is, or the last bracket. */
static int end_element(cutter *cut, int64_t end, int is_last)
{
    if ((size_t)(end - cut->element) >= cut->least) {
        if (cut->begin < cut->element && !add_piece(cut, cut->begin, cut->element - 1, -1))
            return 0;
        if (!add_piece(cut, cut->element, end, cut->value))
            return 0;
        cut->begin = end + 1;
    } else if (is_last || (size_t)(end - cut->begin) >= cut->least) {
        if (!add_piece(cut, cut->begin, end, -1))
            return 0;
        cut->begin = end + 1;
    }
    cut->element = cut->value = end + 1;
    return 1;
}

int64_t rk_json_pieces(const uint8_t *text, size_t len, size_t least, rk_piece *pieces, size_t cap)
{
    const uint8_t *at = text, *end = text + len;
    while (at < end && is_blank(*at))
        at++;
    while (at < end && is_blank(end[-1]))
        end--;
    if (at == end || (*at != '[' && *at != '{'))
        return 0;
    if (least == 0 || end - at < 2 || end[-1] != (*at == '[' ? ']' : '}'))
        return RK_EINVAL;
    at++;
    end--; /* from here on only what is inside */
    const uint8_t *inside = at;
    while (inside < end && is_blank(*inside))
        inside++;
    if (inside == end)
        return 0;
    cutter cut = {pieces, 0, cap, least, at - text, at - text, at - text};
    size_t depth = 0;
    while (at < end) {
        uint8_t byte = *at++;
        if (byte == '"') {
            at = behind_string(at, end);
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (byte == '}' || byte == ']') {
            if (depth-- == 0)
                return RK_EINVAL;
        } else if (depth == 0 && byte == ',') {
            if (!end_element(&cut, at - 1 - text, 0))
                return RK_EINVAL;
        } else if (depth == 0 && byte == ':' && cut.value == cut.element) {
            cut.value = at - text;
        }
    }
    if (depth != 0 || !end_element(&cut, end - text, 1))
        return RK_EINVAL;
    return (int64_t)cut.n;
}

int64_t rk_json_lines(const uint8_t *text, size_t len, int64_t *ends, size_t cap)
{
    const uint8_t *at = text, *end = text + len;
    size_t n = 0;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL || n == cap || *at != '{' || newline[-1] != '}')
            return RK_EINVAL;
        at = newline + 1;
        ends[n++] = at - text;
    }
    return (int64_t)n;
}
