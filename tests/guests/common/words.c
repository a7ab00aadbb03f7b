/* words.c: the command line's words: what stands between spaces. */
#include "guest.h"

/* The next `name=VALUE` from *at on (0: from the line's start): its value, not terminated, or 0. */
const char *next_value(const char **at, const char *name, uint32_t *length)
{
	const char *p = *at ? *at : line;
	while (*p) {
		const char *n = name;
		while (*p == ' ')
			p++;
		while (*n && *p == *n) {
			p++;
			n++;
		}
		if (!*n && *p == '=') {
			const char *value = ++p;
			while (*p && *p != ' ')
				p++;
			*at = p;
			*length = (uint32_t)(p - value);
			return value;
		}
		while (*p && *p != ' ')
			p++;
	}
	*at = p;
	return 0;
}

/* Is there a word `name`, or `name=...` when `value` is asked for? A bare word where a value may be leaves *value alone. */
int word(const char *name, uint32_t *value)
{
	const char *p = line;
	while (*p) {
		const char *n = name;
		while (*p == ' ')
			p++;
		while (*n && *p == *n) {
			p++;
			n++;
		}
		if (!*n && (!*p || *p == ' '))
			return 1;
		if (!*n && value && *p == '=' && p[1] >= '0' && p[1] <= '9') {
			uint32_t v = 0;
			for (p++; *p >= '0' && *p <= '9'; p++)
				v = v * 10 + (uint32_t)(*p - '0');
			*value = v;
			return 1;
		}
		while (*p && *p != ' ')
			p++;
	}
	return 0;
}
