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
