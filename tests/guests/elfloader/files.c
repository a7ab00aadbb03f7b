/* files.c: the archive, in the newc format, where it lies. Its names have no leading slash. */
#include "long.h"

#define HEAD 110
#define PATH 4096
#define LINKS 40

static uint8_t *archive, *archive_end;
static char current[PATH] = "/";

void files_init(uint8_t *start, uint8_t *end)
{
	archive = start;
	archive_end = end;
}

static uint32_t field(const uint8_t *head, int index)
{
	uint32_t value = 0;
	for (int i = 0; i < 8; i++) {
		uint8_t c = head[6 + index * 8 + i];
		value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return value;
}

/* The entry of this name, which is without links. */
static int entry(const char *name, struct file *file)
{
	uint32_t number = 1;
	if (!*name) {
		*file = (struct file){ 0, 0, 0040755, 1 };
		return 0;
	}
	for (uint8_t *at = archive; at && at + HEAD <= archive_end; number++) {
		uint32_t size = field(at, 6), length = field(at, 11);
		const char *own = (const char *)at + HEAD;
		uint8_t *data = archive + ((at + HEAD + length - archive + 3) & ~3ul);
		if (same(own, "TRAILER!!!"))
			break;
		if (same(own, name)) {
			*file = (struct file){ data, size, field(at, 1), number + 1 };
			return 0;
		}
		at = archive + ((data + size - archive + 3) & ~3ul);
	}
	return -1;
}

/* Puts `path`, against the present directory, into `out` without links; the last one stays unless it is followed. */
static int resolve(const char *path, int follow, char *out)
{
	static char left[PATH], again[PATH];
	struct file file;
	size_t n = 0;
	int links = 0;
	if (length_of(path) + 1 > PATH)
		return -1;
	copy(left, path, length_of(path) + 1);
	if (*path != '/') {
		n = length_of(current + 1);
		copy(out, current + 1, n);
	}
	out[n] = 0;
	for (char *p = left; *p;) {
		while (*p == '/')
			p++;
		size_t part = 0;
		while (p[part] && p[part] != '/')
			part++;
		if (!part)
			break;
		if (part == 1 && p[0] == '.') {
			p += part;
			continue;
		}
		size_t before = n;
		if (part == 2 && p[0] == '.' && p[1] == '.') {
			while (n && out[n - 1] != '/')
				n--;
			n -= n > 0;
			out[n] = 0;
			p += part;
			continue;
		}
		if (n + part + 2 > PATH)
			return -1;
		if (n)
			out[n++] = '/';
		copy(out + n, p, part);
		n += part;
		out[n] = 0;
		p += part;
		if (entry(out, &file) < 0)
			return -1;
		if ((file.mode & 0170000) != 0120000 || (!*p && follow == NO_FOLLOW))
			continue;
		if (++links > LINKS || file.size + length_of(p) + 1 > PATH)
			return -1;
		copy(again, file.data, file.size);
		copy(again + file.size, p, length_of(p) + 1);
		copy(left, again, PATH);
		p = left;
		n = *left == '/' ? 0 : before;
		out[n] = 0;
	}
	return 0;
}

int find(const char *path, int follow, struct file *file)
{
	char out[PATH];
	return resolve(path, follow, out) < 0 ? -1 : entry(out, file);
}

int change_directory(const char *path)
{
	char out[PATH];
	struct file file;
	if (resolve(path, FOLLOW, out) < 0 || entry(out, &file) < 0 || (file.mode & 0170000) != 0040000)
		return -1;
	copy(current + 1, out, length_of(out) + 1);
	return 0;
}

const char *directory(void) { return current; }
