/*
 * share.c: a directory of the host's that is the root by 9P, read once, file by file, into an archive where a RAM disk would be.
 * The rest is as with one. For tests it is enough that what is there at the start is seen.
 *
 * Virtual I/O Device (VIRTIO) 1.1, 4.1.4.8: the legacy registers on PCI; https://github.com/chaos/diod/blob/master/protocol.md:
 * 9P2000.L. One request at a time, and nothing else to do meanwhile.
 */
#include "guest.h"
#include "share.h"

#define VENDOR_DEVICE 0x10091af4u
#define PAGE 4096
#define ENTRIES 1024
#define MESSAGE (64u << 10)
#define DEPTH 16
#define NAME 4096

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4 };
enum { NEXT = 1, WRITE_ONLY = 2 };
enum {
	LERROR = 7, LOPEN = 12, READLINK = 22, GETATTR = 24, READDIR = 40, VERSION = 100, ATTACH = 104, WALK = 110, READ = 116,
	CLUNK = 120,
};

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

static uint8_t ring[16 * PAGE] __attribute__((aligned(PAGE)));
static uint8_t request[MESSAGE], reply[MESSAGE];
static uint32_t length; /* of the request so far */
static const uint8_t *at; /* in the reply */
static uint16_t port, entries, offered;
static uint8_t *out;
static char path[NAME];

static void fail(const char *why)
{
	print("cannot mount fs1: ");
	print(why);
	print("\n");
	debug_exit(1);
	stop();
}

/* Numbers of so many bytes, and text behind its length. */
static void add(uint64_t value, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		request[length++] = (uint8_t)(value >> 8 * i);
}

static void add_text(const char *text, uint32_t n)
{
	add(n, 2);
	for (uint32_t i = 0; i < n; i++)
		request[length++] = (uint8_t)text[i];
}

static uint64_t next(uint32_t bytes)
{
	uint64_t value = 0;
	for (uint32_t i = 0; i < bytes; i++)
		value |= (uint64_t)*at++ << 8 * i;
	return value;
}

static void begin(uint8_t type)
{
	length = 4;
	add(type, 1);
	add(1, 2);
}

/* Sends what was put together and waits for the answer. */
static void call(void)
{
	volatile struct descriptor *descriptors = (void *)ring;
	volatile uint16_t *available = (void *)(ring + sizeof(struct descriptor) * entries);
	uint32_t used_at = (sizeof(struct descriptor) * entries + 6 + 2u * entries + PAGE - 1) & ~(PAGE - 1u);
	volatile uint16_t *used = (void *)(ring + used_at);
	uint32_t whole = length;
	length = 0;
	add(whole, 4);
	descriptors[0] = (struct descriptor){ (uint32_t)request, whole, NEXT, 1 };
	descriptors[1] = (struct descriptor){ (uint32_t)reply, MESSAGE, WRITE_ONLY, 0 };
	available[2 + offered % entries] = 0;
	__sync_synchronize();
	available[1] = ++offered;
	__sync_synchronize();
	out16((uint16_t)(port + 0x10), 0);
	while (used[1] != offered)
		__sync_synchronize();
	at = reply + 4;
	if (next(1) == LERROR)
		fail(path);
	next(2);
}

static void find_device(void)
{
	for (uint32_t device = 0; device < 32; device++) {
		if (pci(device, 0, 0) != VENDOR_DEVICE)
			continue;
		port = (uint16_t)(pci(device, 0, 0x10) & ~3u);
		pci_set(device, 0, 4, pci(device, 0, 4) | 5);
	}
	if (!port)
		fail("there is no such device");
	out8((uint16_t)(port + 0x12), 0);
	out8((uint16_t)(port + 0x12), ACKNOWLEDGE | DRIVER);
	out32((uint16_t)(port + 4), 0);
	out16((uint16_t)(port + 0x0e), 0);
	entries = in16((uint16_t)(port + 0x0c));
	if (!entries || entries > ENTRIES)
		fail("its ring has no sensible size");
	out32((uint16_t)(port + 8), (uint32_t)ring / PAGE);
	out8((uint16_t)(port + 0x12), ACKNOWLEDGE | DRIVER | DRIVER_OK);
}

static void put_hex(uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		*out++ = (uint8_t)"0123456789abcdef"[value >> shift & 15];
}

static void align(void)
{
	while ((uint32_t)out % 4)
		*out++ = 0;
}

static void put_header(const char *name, uint32_t mode, uint32_t size)
{
	uint32_t n = 0;
	while (name[n])
		n++;
	for (const char *magic = "070701"; *magic; magic++)
		*out++ = (uint8_t)*magic;
	const uint32_t fields[] = { 0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, n + 1, 0 };
	for (uint32_t i = 0; i < sizeof fields / sizeof *fields; i++)
		put_hex(fields[i]);
	for (uint32_t i = 0; i <= n; i++)
		*out++ = (uint8_t)name[i];
	align();
}

static void open_file(uint32_t fid)
{
	begin(LOPEN);
	add(fid, 4);
	add(0, 4);
	call();
}

static void put_file(uint32_t fid, uint32_t mode, uint32_t size)
{
	put_header(path, mode, size);
	if ((uint32_t)out + size + MIB > memory_end)
		fail("it does not fit into memory");
	if ((mode & 0170000) == 0120000) {
		begin(READLINK);
		add(fid, 4);
		call();
		next(2);
		for (uint32_t i = 0; i < size; i++)
			*out++ = *at++;
	} else {
		open_file(fid);
		for (uint32_t done = 0; done < size;) {
			begin(READ);
			add(fid, 4);
			add(done, 8);
			add(MESSAGE - 64, 4);
			call();
			uint32_t n = (uint32_t)next(4);
			if (!n)
				fail(path);
			for (uint32_t i = 0; i < n && done < size; i++, done++)
				*out++ = *at++;
		}
	}
	align();
}

static void put_directory(uint32_t fid, uint32_t end);

/* What has this name in the directory of `fid`. */
static void put_entry(uint32_t fid, const uint8_t *name, uint32_t n, uint32_t end)
{
	if (end + n + 2 > NAME || fid + 1 == DEPTH)
		fail("its names are too long");
	if (end)
		path[end++] = '/';
	for (uint32_t i = 0; i < n; i++)
		path[end + i] = (char)name[i];
	path[end + n] = 0;
	begin(WALK);
	add(fid, 4);
	add(fid + 1, 4);
	add(1, 2);
	add_text(path + end, n);
	call();
	begin(GETATTR);
	add(fid + 1, 4);
	add(0x7ff, 8);
	call();
	next(8);
	at += 13;
	uint32_t mode = (uint32_t)next(4);
	at += 4 + 4 + 8 + 8;
	uint32_t size = (uint32_t)next(8);
	if ((mode & 0170000) == 0040000) {
		put_header(path, mode, 0);
		put_directory(fid + 1, end + n);
	} else if ((mode & 0170000) == 0100000 || (mode & 0170000) == 0120000) {
		put_file(fid + 1, mode, size);
	}
	begin(CLUNK);
	add(fid + 1, 4);
	call();
}

static void put_directory(uint32_t fid, uint32_t end)
{
	uint64_t offset = 0;
	open_file(fid);
	for (;;) {
		/* One at a time: what is asked meanwhile takes the place of the answer. */
		begin(READDIR);
		add(fid, 4);
		add(offset, 8);
		add(1024, 4);
		call();
		if (!next(4))
			return;
		at += 13;
		offset = next(8);
		next(1);
		uint32_t n = (uint32_t)next(2);
		static uint8_t name[256];
		for (uint32_t i = 0; i < n && i < sizeof name; i++)
			name[i] = at[i];
		if (!(n == 1 && name[0] == '.') && !(n == 2 && name[0] == '.' && name[1] == '.'))
			put_entry(fid, name, n, end);
	}
}

void read_share(void)
{
	static const char version[] = "9P2000.L";
	find_device();
	begin(VERSION);
	add(MESSAGE, 4);
	add_text(version, sizeof version - 1);
	call();
	begin(ATTACH);
	add(0, 4);
	add(0xffffffff, 4);
	add_text("root", 4);
	add_text("", 0);
	add(0, 4);
	call();
	disk_start = ((uint32_t)image_end + PAGE - 1) & ~(PAGE - 1u);
	out = (uint8_t *)disk_start;
	put_directory(0, 0);
	put_header("TRAILER!!!", 0, 0);
	disk_end = (uint32_t)out;
}
