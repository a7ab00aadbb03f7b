/*
 * main.c: a loader of programs for Linux, which behaves as Unikraft's app-elfloader does, for tests of whoever runs one.
 *
 * Its line is NAME [PARAMETERS... --] ARGUMENTS..., quoted as Unikraft quotes (words.c). It takes env.vars=[ K=V... ] and
 * env.vars=K=V. With ELFLOADER 1 the RAM disk is an archive, the first argument is the program's path in it, and the
 * variable PWD is the directory to start in; with 3 a share by 9P takes the place of that archive. With 2 the RAM disk is the
 * program, and all arguments are its own.
 *
 * The program and its interpreter are copied to where there is room, and their calls are answered (system.c): enough for
 * glibc, one thread, files that are only read. Its exit status leaves through isa-debug-exit: QEMU's is 2N+1.
 */
#include "long.h"

#define COM1 0x3f8
#define DEBUG_EXIT_PORT 0x501

const struct given *given;

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

void print_some(const char *s, size_t length)
{
	while (length--) {
		while (!(in8(COM1 + 5) & 0x20))
			;
		out8(COM1, (uint8_t)*s++);
	}
}

void print(const char *s) { print_some(s, length_of(s)); }

void print_number(uint64_t n)
{
	char digits[20];
	size_t i = sizeof digits;
	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	print_some(digits + i, sizeof digits - i);
}

void leave(uint32_t code)
{
	out32(DEBUG_EXIT_PORT, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void give_up(const char *what, const char *which)
{
	print(what);
	print(which);
	print("\n");
	leave(1);
}

size_t length_of(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

void copy(void *to, const void *from, size_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;
	if (t <= f)
		for (size_t i = 0; i < n; i++)
			t[i] = f[i];
	else
		while (n--)
			t[n] = f[n];
}

void zero(void *to, size_t n)
{
	uint8_t *t = to;
	while (n--)
		*t++ = 0;
}

void main64(const struct given *from)
{
	static char *words[WORDS];
	struct file file;
	given = from;
	memory_init();
	system_init();
	size_t count = split((char *)from->line, words, WORDS);
	/* Behind the first `--`, all is the program's; without one, all but our own name is. */
	size_t first = count ? 1 : 0;
	for (size_t i = 1; i < count; i++)
		if (same(words[i], "--")) {
			first = i + 1;
			break;
		}
	uint8_t *disk = (uint8_t *)from->disk_start;
#if ELFLOADER != 2
	if (first >= count)
		give_up("Program name missing (no argv[1])", "");
	const char *path = words[first];
	files_init(disk, (uint8_t *)from->disk_end);
	const char *pwd = variable("PWD");
	if (pwd && change_directory(pwd) < 0)
		give_up("Failed to change working directory to ", pwd);
	if (find(path, FOLLOW, &file) < 0 || (file.mode & 0170000) != 0100000 || !(file.mode & 0111))
		give_up("Failed to load executable ", path);
#else
	const char *path = words[0];
	if (!disk)
		give_up("No image found (initrd parameter missing?)", "");
	file = (struct file){ disk, from->disk_end - from->disk_start, 0100755, 1 };
	files_init(0, 0);
	words[--first] = (char *)path;
#endif
	run(path, &file, words + first, count - first);
}
