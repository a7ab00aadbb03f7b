/*
 * secret.c: a secret of the host's, from QEMU's firmware configuration (docs/specs/fw_cfg.rst) or from a file in the RAM
 * disk, and what may be said of it: how long it is and its FNV-1a hash.
 */
#include "secret.h"

#define SELECT 0x510
#define DATA 0x511
#define SIGNATURE 0x00
#define DIRECTORY 0x19

#define HASH_START 2166136261u
static uint32_t hashed(uint32_t hash, uint8_t byte) { return (hash ^ byte) * 16777619u; }

static uint32_t big(uint32_t bytes)
{
	uint32_t n = 0;
	while (bytes--)
		n = n << 8 | in8(DATA);
	return n;
}

static int is(const char *text, const char *begins, const char *name, uint32_t length)
{
	while (*begins)
		if (*text++ != *begins++)
			return 0;
	while (length--)
		if (*text++ != *name++)
			return 0;
	return !*text;
}

static void say(const char *name, uint32_t length, const char *where, uint32_t size, uint32_t hash)
{
	print("tiny: secret ");
	print_some(name, length);
	print(where);
	print_number(size);
	print(" bytes, hash ");
	print_hex(hash);
	put('\n');
}

static int from_firmware(const char *name, uint32_t length)
{
	out16(SELECT, SIGNATURE);
	if (big(4) != 0x51454d55) /* QEMU */
		return 0;
	out16(SELECT, DIRECTORY);
	for (uint32_t count = big(4); count; count--) {
		uint32_t size = big(4), select = big(2), hash = HASH_START;
		char file[56];
		big(2);
		for (uint32_t i = 0; i < sizeof file; i++)
			file[i] = (char)in8(DATA);
		if (!is(file, "opt/io.systemd.credentials/", name, length))
			continue;
		out16(SELECT, (uint16_t)select);
		for (uint32_t i = 0; i < size; i++)
			hash = hashed(hash, in8(DATA));
		say(name, length, " in fw_cfg: ", size, hash);
		return 1;
	}
	return 0;
}

/* A field of a header of the newc format: eight hexadecimal digits. */
static uint32_t field(const char *header, uint32_t n)
{
	uint32_t v = 0;
	for (const char *p = header + 6 + 8 * n, *end = p + 8; p < end; p++)
		v = v << 4 | (uint32_t)(*p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10);
	return v;
}

static int from_disk(const char *name, uint32_t length)
{
	int found = 0;
	for (uint32_t at = disk_start; at + 110 < disk_end;) {
		const char *header = (const char *)at, *file = header + 110;
		uint32_t size = field(header, 6), data = (at + 110 + field(header, 11) + 3) & ~3u;
		if (header[0] != '0' || header[1] != '7' || is(file, "TRAILER!!!", "", 0))
			return found;
		if (is(file, "run/credentials/", name, length)) {
			uint32_t hash = HASH_START;
			for (uint32_t i = 0; i < size; i++)
				hash = hashed(hash, ((const uint8_t *)data)[i]);
			say(name, length, " in the RAM disk: ", size, hash);
			found = 1;
		}
		at = (data + size + 3) & ~3u;
	}
	return found;
}

void say_secret(const char *name, uint32_t length)
{
	int found = from_firmware(name, length);
	if (!(found | from_disk(name, length))) {
		print("tiny: no secret ");
		print_some(name, length);
		put('\n');
	}
}
