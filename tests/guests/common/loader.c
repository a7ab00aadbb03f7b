/* loader.c: the loader's table, where the command line is, and how much memory there is. */
#include "guest.h"

void start(uint32_t magic, uint32_t info);

char line[4096];
uint32_t memory_end;
uint32_t disk_start, disk_end;

static void copy_line(uint32_t from)
{
	const char *p = (const char *)from;
	uint32_t i = 0;
	for (; p && p[i] && i < sizeof line - 1; i++)
		line[i] = p[i];
	line[i] = 0;
}

#ifdef MULTIBOOT
static void read_info(uint32_t magic, const uint32_t *info)
{
	if (magic != 0x2badb002)
		return;
	if (info[0] & 1 << 0)
		memory_end = MIB + info[2] * 1024;
	if (info[0] & 1 << 2)
		copy_line(info[4]);
	if (info[0] & 1 << 3 && info[5]) {
		const uint32_t *module = (const uint32_t *)info[6];
		disk_start = module[0];
		disk_end = module[1];
	}
}
#else
struct pvh_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line, acpi, memory_map;
	uint32_t memory_entries;
};

struct pvh_memory {
	uint64_t start, size;
	uint32_t type, reserved;
};

static void read_info(uint32_t magic, const uint32_t *info)
{
	const struct pvh_info *pvh = (const void *)info;
	(void)magic;
	if (pvh->magic != 0x336ec578)
		return;
	if (pvh->version >= 1) {
		const struct pvh_memory *m = (const void *)(uint32_t)pvh->memory_map;
		for (uint32_t i = 0; i < pvh->memory_entries; i++)
			if (m[i].type == 1 && m[i].start <= MIB && m[i].start + m[i].size > MIB)
				memory_end = (uint32_t)(m[i].start + m[i].size);
	}
	copy_line((uint32_t)pvh->command_line);
	if (pvh->modules) {
		const uint64_t *module = (const uint64_t *)(uint32_t)pvh->module_list;
		disk_start = (uint32_t)module[0];
		disk_end = (uint32_t)(module[0] + module[1]);
	}
}
#endif

void start(uint32_t magic, uint32_t info)
{
	read_info(magic, (const uint32_t *)info);
	find_power();
	kernel();
	stop();
}
